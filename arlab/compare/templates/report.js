"use strict";
// Sorts the table by the column whose heading is clicked: the better end first, the other end at the second click.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  for (const heading of table.querySelectorAll("th[data-column]")) {
    heading.querySelector("button").addEventListener("click", () => {
      const column = Number(heading.dataset.column);
      const first = heading.dataset.first;
      const other = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      for (const each of table.querySelectorAll("th[aria-sort]")) each.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const numbers = heading.classList.contains("number");
      // Rows without a number come last in either order.
      const value = (row) => {
        const cell = row.cells[column];
        if (!numbers) return cell.dataset.text;
        return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
      };
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return sign * (numbers ? x - y || 0 : x.localeCompare(y, "en", { numeric: true }));
      };
      body.append(...[...body.rows].sort(compare));
    });
  }
}
// On paper nothing can be opened.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((each) => (each.open = true)));
