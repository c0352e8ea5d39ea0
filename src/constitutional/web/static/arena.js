// The results follow the votes: the page is loaded again when there are more.
"use strict";

{
  const live = document.querySelector("[data-version]");
  const follow = document.getElementById("live");
  const FOLLOW = "constitutional-follow", EVERY = 2000;

  follow.checked = sessionStorage.getItem(FOLLOW) !== "off";
  follow.addEventListener("change", () => sessionStorage.setItem(FOLLOW, follow.checked ? "on" : "off"));

  async function look() {
    if (follow.checked && document.visibilityState === "visible") {
      try {
        const answer = await fetch(live.dataset.at);
        if (answer.ok && (await answer.json()).version !== live.dataset.version) return location.reload();
      } catch {
        // the server is away: it is asked again
      }
    }
    setTimeout(look, EVERY);
  }

  setTimeout(look, EVERY);
}
