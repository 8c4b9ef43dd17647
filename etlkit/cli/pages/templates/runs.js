// Shows only the runs whose row holds all the words that are typed.
(() => {
  const rows = [...document.querySelectorAll("#runs-table tbody tr")];
  if (rows.length < 2) return;
  const input = document.getElementById("filter");
  const count = document.getElementById("filter-count");
  const texts = rows.map((row) => row.textContent.toLowerCase());
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => texts[i].includes(word));
      shown += !row.hidden;
    });
    count.textContent = words.length ? `${shown} of ${rows.length}` : "";
  });
  document.getElementById("filter-row").hidden = false;
})();
