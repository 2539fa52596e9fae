// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// Shows times in the reader's own zone, as exact as the server has written them.
// Without it they stay in that of Beijing, which stands behind them then.
for (const time of document.querySelectorAll('time[datetime]')) {
  const at = new Date(time.dateTime);
  const two = (n) => String(n).padStart(2, '0');
  const text =
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  time.textContent = text.slice(0, time.firstChild.length);
}
