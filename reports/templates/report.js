(() => {
  const d = document, $ = (s) => d.querySelector(s), all = (s) => [...d.querySelectorAll(s)];
  const box = $("#filter"), told = $("#shown"), rows = all("#check-rows tr"), text = rows.map((r) => r.textContent.toLowerCase());
  d.documentElement.classList.add("js");
  const test = (row, i, word) => {
    const [, key, value] = word.match(/^(s|req|seed):(.*)$/) || [];
    return key ? row.dataset[key].toLowerCase().startsWith(value) : text[i].includes(word);
  };
  const apply = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    rows.forEach((row, i) => { row.hidden = !words.every((word) => test(row, i, word)); n += !row.hidden; });
    told.value = n.toLocaleString("en") + " of " + rows.length.toLocaleString("en");
  };
  const open = () => {
    const hash = decodeURIComponent(location.hash.slice(1));
    if (hash.startsWith("q=")) { box.value = hash.slice(2); $("#checks").scrollIntoView(); }
    for (let e = d.getElementById(hash); e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    apply();
  };
  box.oninput = () => { apply(); history.replaceState(null, "", box.value ? "#q=" + encodeURIComponent(box.value) : location.pathname + location.search); };
  d.onkeydown = (e) => {
    if (e.target === box || e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === "/") { e.preventDefault(); box.focus(); }
    const step = { j: 1, k: -1 }[e.key], cards = all(".card");
    if (!step || !cards.length) return;
    const at = cards.findIndex((c) => c.getBoundingClientRect().top > -5 && c.getBoundingClientRect().top < 40);
    const next = at >= 0 ? at + step : cards.findIndex((c) => c.getBoundingClientRect().top > 0);
    (cards[next] || cards[0]).scrollIntoView();
  };
  if (navigator.clipboard) all("[data-copy]").forEach((b) => {
    b.hidden = false;
    b.onclick = async () => { await navigator.clipboard.writeText(d.getElementById(b.dataset.copy).textContent); b.textContent = "copied"; };
  });
  const every = $("#open-all");
  if (every) every.onclick = () => all(".card details").forEach((e) => { e.open = true; });
  addEventListener("hashchange", open);
  open();
})();
