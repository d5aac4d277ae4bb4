// The camera, in a dialog: the browser asks for permission, and closing the dialog switches the camera off.

import { element } from "./bars.js";

const $ = (id) => document.getElementById(id);
let stream = null;
let taken = 0;
let onPhoto = () => {};

// What went wrong, and what the user can do.
function words(error) {
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "The browser does not allow this page to use the camera. Allow it in the settings of the page, next to the address, and try again.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No camera was found on this device.";
    case "NotReadableError":
    case "AbortError":
      return "The camera does not start. Another program may be using it.";
    default:
      return `The camera does not start: ${error?.message ?? error}`;
  }
}

function show(error) {
  $("camera-error").textContent = error;
  $("camera-error").hidden = error === "";
  $("video").hidden = error !== "";
  $("camera-take").hidden = error !== "";
}

function stop() {
  stream?.getTracks().forEach((it) => it.stop());
  stream = null;
  $("video").srcObject = null;
  $("camera-take").disabled = true;
}

async function start(deviceId) {
  stop();
  show("");
  if (!navigator.mediaDevices?.getUserMedia) {
    show(
      window.isSecureContext
        ? "This browser gives pages no camera."
        : "Browsers give a camera only to pages from this device (localhost) or over HTTPS. Choose an image file instead.",
    );
    return;
  }
  const video = deviceId ? { deviceId: { exact: deviceId } } : { facingMode: { ideal: "user" } };
  let opened;
  try {
    opened = await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (error) {
    show(words(error));
    return;
  }
  // Closed while the browser was asking, or opened twice.
  if (!$("camera").open || stream) {
    opened.getTracks().forEach((it) => it.stop());
    return;
  }
  stream = opened;
  $("video").srcObject = stream;
  await $("video").play().catch(() => {});
  $("camera-take").disabled = false;
  if (document.activeElement === $("camera-close")) $("camera-take").focus();
  await list();
}

async function list() {
  const all = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  const cameras = all.filter((it) => it.kind === "videoinput");
  const current = stream?.getVideoTracks()[0]?.getSettings().deviceId;
  const option = (it, at) =>
    element("option", { value: it.deviceId, textContent: it.label || `Camera ${at + 1}`, selected: it.deviceId === current });
  $("camera-device").replaceChildren(...cameras.map(option));
  $("camera-devices").hidden = cameras.length < 2;
}

function take() {
  const { videoWidth: width, videoHeight: height } = $("video");
  if (!width) return;
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  canvas.toBlob(
    (blob) => {
      if (!blob) return show("The photo could not be taken. Try again.");
      taken += 1;
      onPhoto(new File([blob], `camera-${taken}.jpg`, { type: "image/jpeg" }));
      $("camera").close();
    },
    "image/jpeg",
    0.92,
  );
}

// Connects the dialog; `photo` gets each photo as a `File`.
export function connect(photo) {
  onPhoto = photo;
  $("camera-open").addEventListener("click", () => {
    $("camera").showModal();
    $("camera-close").focus();
    start();
  });
  $("camera-close").addEventListener("click", () => $("camera").close());
  $("camera").addEventListener("close", stop);
  $("camera-take").addEventListener("click", take);
  $("camera-device").addEventListener("change", () => start($("camera-device").value));
}
