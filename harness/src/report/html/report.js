"use strict";
// Filters by kind and by words. The address keeps both, so that a link shows the same.
{
  const tests = [...document.querySelectorAll(".test")];
  const buttons = [...document.querySelectorAll("nav button")];
  const search = document.getElementById("search");
  const nothing = document.getElementById("nothing");
  // Read out to whoever does not see the list change.
  const said = document.getElementById("shown");
  const texts = new Map();
  const textOf = (test) => {
    if (!texts.has(test)) texts.set(test, test.textContent.toLowerCase());
    return texts.get(test);
  };
  let kind = "all";
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const test of tests) {
      const fits = (kind === "all" || test.dataset.kind === kind) && words.every((word) => textOf(test).includes(word));
      test.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    // Whoever has found the one test wants to read it.
    if (shown === 1 && tests.length > 1) tests.find((test) => !test.hidden).open = true;
    nothing.hidden = shown > 0 || tests.length === 0;
    said.textContent = `${shown} of ${tests.length} tests shown`;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
  };
  const remember = () => {
    const state = new URLSearchParams();
    if (kind !== "all") state.set("show", kind);
    if (search.value) state.set("find", search.value);
    try { history.replaceState(null, "", "#" + state); } catch { /* some viewers keep no history */ }
  };
  const recall = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    kind = buttons.some((button) => button.dataset.kind === state.get("show")) ? state.get("show") : "all";
    search.value = state.get("find") ?? "";
    apply();
  };
  for (const button of buttons) {
    button.addEventListener("click", () => { kind = button.dataset.kind; apply(); remember(); });
  }
  search.addEventListener("input", () => { apply(); remember(); });
  addEventListener("hashchange", recall);
  recall();
}
