// A click on a column's button sorts the rows of its table by that column; a second click turns them round.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.sort");
  if (!button) return;
  const head = button.closest("th"), column = head.cellIndex, body = head.closest("table").tBodies[0];
  const turned = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", turned ? "descending" : "ascending");
  const value = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)], [p, q] = [Number(x), Number(y)];
    if (Number.isNaN(p) || Number.isNaN(q)) return Number.isNaN(p) - Number.isNaN(q) || x.localeCompare(y);
    return p - q;
  };
  const rows = [...body.rows].sort(order);
  body.append(...(turned ? rows.reverse() : rows));
});
