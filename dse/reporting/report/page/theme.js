// Runs in the head, before anything is drawn: the colors that were chosen, or those of the system.
(function () {
  "use strict";
  function stored() {
    try { return localStorage.getItem("dse-theme") || "auto"; } catch { return "auto"; }
  }
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  function apply(choice) {
    const isDark = choice === "dark" || (choice === "auto" && system.matches);
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
  }
  window.dseTheme = {
    choice: stored(),
    choose(choice) {
      this.choice = choice;
      try { localStorage.setItem("dse-theme", choice); } catch { /* storage is switched off: it lasts for this page */ }
      apply(choice);
    },
    onSystemChange(listener) {
      system.addEventListener("change", () => { apply(this.choice); listener(); });
    },
  };
  apply(window.dseTheme.choice);
})();
