// Requests to the server, its token, and its errors in plain words.

const KEY = "maskfit-token";
// Where a browser blocks the storage, the token is kept until the page is closed.
let kept = null;

export function token() {
  try {
    return sessionStorage.getItem(KEY) ?? kept;
  } catch {
    return kept;
  }
}

export function setToken(text) {
  kept = text;
  try {
    if (text === null) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, text);
  } catch {
    // Kept in memory.
  }
}

// Why a request failed: a title and a detail for people, and what can be done about it.
export class Failure extends Error {
  constructor(title, detail, status, waitSeconds) {
    super(`${title} ${detail}`);
    Object.assign(this, { title, detail, status, waitSeconds });
  }

  get needsToken() {
    return this.status === 401;
  }

  // The server was not reached at all.
  get isUnreachable() {
    return this.status === 0;
  }

  // The same request can succeed later.
  get isTemporary() {
    return [0, 408, 429, 500, 502, 503, 504].includes(this.status);
  }
}

const TITLES = {
  400: "The server could not read this image.",
  401: "The server needs a token.",
  404: "The server does not have this model any more.",
  408: "The upload took too long.",
  413: "This is too large for the server.",
  415: "This is not an image that the server can read.",
  429: "The server is busy: its queue is full.",
  503: "The server is too busy, or it is stopping.",
};

function sentence(text) {
  const trimmed = String(text ?? "").trim();
  if (!trimmed) return "";
  const first = trimmed[0].toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

// The message of an error's body: `{"error": "..."}`, or that of the only image.
async function messageOf(response) {
  try {
    const body = await response.json();
    return body.error ?? body.images?.find((it) => it.error)?.error ?? "";
  } catch {
    return "";
  }
}

function secondsOf(header) {
  const seconds = Number.parseInt(header ?? "", 10);
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 1), 30) : 1;
}

// Sends a request with the token, and returns the response; everything but a success is a `Failure`.
export async function request(path, options = {}) {
  const headers = { ...options.headers };
  const own = token();
  if (own !== null) headers.Authorization = `Bearer ${own}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin" });
  } catch {
    throw new Failure("The server cannot be reached.", "Is it still running, and is this device connected to it?", 0);
  }
  if (response.ok) return response;
  const title = TITLES[response.status] ?? `The server failed (status ${response.status}).`;
  const detail = sentence(await messageOf(response));
  throw new Failure(title, detail, response.status, secondsOf(response.headers.get("Retry-After")));
}

export async function models() {
  const body = await (await request("models")).json();
  return { models: body.models ?? [], limits: body.limits ?? {} };
}

function query(values) {
  const given = Object.entries(values).filter(([, it]) => it !== null && it !== undefined && it !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

function contentType(file) {
  return file.type.startsWith("image/") ? file.type : "application/octet-stream";
}

export function predictPath(model, sets) {
  return `predict${query({ model, sets })}`;
}

// The prediction for one image.
export async function predict(file, model, sets) {
  const path = predictPath(model, sets);
  const sent = { method: "POST", body: file, headers: { "Content-Type": contentType(file) } };
  const body = await (await request(path, sent)).json();
  const image = body.images?.[0];
  if (!image || image.error) {
    throw new Failure(TITLES[400], sentence(image?.error), 400);
  }
  return image;
}

// A layer of the Grad-CAM of an image, as a PNG; `null` where the server has none.
//
// `layer`: `map`, the colours of the map, or `image`, what the network reads and the map belongs to: the image after
// a crop and a resize.
export async function explain(file, model, target, layer) {
  const sent = { method: "POST", body: file, headers: { "Content-Type": contentType(file) } };
  const values = { model, factor: target, layer };
  try {
    return await (await request(`explain${query(values)}`, sent)).blob();
  } catch (error) {
    const isUnknown = [404, 405, 501].includes(error.status) || (layer !== "map" && error.status === 400);
    if (error instanceof Failure && isUnknown) return null;
    throw error;
  }
}
