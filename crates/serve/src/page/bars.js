// Bars of probabilities. Each is a list item with text: the bar itself is only for the eye.

// More levels than this are sorted by probability, and only the first are shown.
const MOST_IN_ORDER = 6;
const MOST_SHOWN = 10;

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function percent(p) {
  if (p > 0 && p < 0.0005) return "< 0.1 %";
  if (p < 1 && p >= 0.9995) return "> 99.9 %";
  return `${(100 * p).toFixed(1)} %`;
}

function bar({ class: name, probability }, predicted) {
  const isPredicted = name === predicted;
  const fill = element("div", { className: "bar" });
  fill.style.width = `${Math.min(Math.max(100 * probability, 0), 100)}%`;
  const track = element("div", { className: "track" }, fill);
  track.setAttribute("aria-hidden", "true");
  const spoken = isPredicted ? [element("span", { className: "hidden-text", textContent: " (predicted)" })] : [];
  return element(
    "li",
    { className: isPredicted ? "predicted" : "" },
    element("span", { className: "name" }, name, ...spoken),
    track,
    element("span", { className: "share", textContent: percent(probability) }),
  );
}

// The list of bars, and a button for the rest of a long one.
//
// `most`: how many are shown at first; a short list keeps its order where it is not given.
export function bars(probabilities, predicted, most) {
  const isShort = most === undefined && probabilities.length <= MOST_IN_ORDER;
  const sorted = isShort ? probabilities : [...probabilities].sort((a, b) => b.probability - a.probability);
  const first = isShort ? sorted.length : (most ?? MOST_SHOWN);
  const className = isShort ? "bars" : "bars long";
  const list = element("ul", { className }, ...sorted.slice(0, first).map((it) => bar(it, predicted)));
  list.setAttribute("role", "list");
  if (sorted.length <= first) return [list];
  const all = `Show all ${sorted.length.toLocaleString("en")}`;
  const button = element("button", { type: "button", className: "quiet", textContent: all });
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    const shown = isOpen ? sorted.slice(0, first) : sorted;
    list.replaceChildren(...shown.map((it) => bar(it, predicted)));
    button.setAttribute("aria-expanded", String(!isOpen));
    button.textContent = isOpen ? all : "Show fewer";
  });
  return [list, button];
}

// The bars of a factor under its name.
export function factor({ factor: name, predicted, probabilities }, index) {
  const id = `factor-${index}`;
  const section = element(
    "section",
    {},
    element("h3", { id, textContent: name }),
    ...bars(probabilities, predicted),
  );
  section.setAttribute("aria-labelledby", id);
  return section;
}
