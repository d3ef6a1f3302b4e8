(() => {
  const tip = document.getElementById('tip');
  const show = (mark, x, y) => {
    tip.textContent = mark.dataset.tip;
    tip.style.display = 'block';
    tip.style.left = Math.max(4, Math.min(x + 12, innerWidth - tip.offsetWidth - 4)) + 'px';
    tip.style.top = Math.max(4, Math.min(y + 12, innerHeight - tip.offsetHeight - 4)) + 'px';
  };
  const hide = () => { tip.style.display = 'none'; };
  document.querySelectorAll('[data-tip]').forEach(mark => {
    mark.addEventListener('pointermove', e => show(mark, e.clientX, e.clientY));
    mark.addEventListener('click', e => show(mark, e.clientX, e.clientY));
    mark.addEventListener('focus', () => { const b = mark.getBoundingClientRect(); show(mark, b.right, b.bottom); });
    mark.addEventListener('pointerleave', hide);
    mark.addEventListener('blur', hide);
  });
  document.querySelectorAll('table.sortable th').forEach(head => {
    head.tabIndex = 0;
    const sort = () => {
      const table = head.closest('table'), body = table.tBodies[0];
      const column = [...head.parentNode.children].indexOf(head);
      const down = head.dataset.order !== 'down';
      table.querySelectorAll('th').forEach(other => { delete other.dataset.order; other.removeAttribute('aria-sort'); });
      head.dataset.order = down ? 'down' : 'up';
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const key = row => row.children[column].dataset.value ?? row.children[column].textContent;
      const compare = (a, b) => {
        const x = key(a), y = key(b), n = Number(x) - Number(y);
        return Number.isNaN(n) || x === '' || y === '' ? x.localeCompare(y) : n;
      };
      [...body.rows].sort((a, b) => (down ? -1 : 1) * compare(a, b)).forEach(row => body.append(row));
    };
    head.addEventListener('click', sort);
    head.addEventListener('keydown', e => { if (e.key === 'Enter') sort(); });
  });
})();
