"""The report's style sheet: light and dark by the reader's setting, and fit for paper."""

from __future__ import annotations

STYLE = """
:root { --page: #fafafa; --card: #fff; --ink: #1c2128; --soft: #5b6470; --line: #dfe3e8; --good: #1a7f4b; --bad: #c2312b;
  --warn: #96640a; --accent: #2f6fdb;
  --series-0: #2f6fdb; --series-1: #c9590c; --series-2: #1a8f6b; --series-3: #8a4fc4; --series-4: #b3306e; --series-5: #6b7280; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171c; --card: #1c2027; --ink: #e6e9ee; --soft: #9aa4b2; --line: #323843; --good: #4cc38a; --bad: #ff7b72;
    --warn: #e3b341; --accent: #78a9ff;
    --series-0: #78a9ff; --series-1: #ff9e57; --series-2: #4fd1a5;
    --series-3: #c19bff; --series-4: #ff8cc0; --series-5: #a8b1bd; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 24px 28px 48px; }
header { display: flex; align-items: center; gap: 12px; flex-wrap: wrap; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 18px; margin: 0 0 12px; }
header p { flex-basis: 100%; margin: 0 0 8px; color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; margin-top: 18px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin-top: 10px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; display: grid; }
.tile b { font-weight: 500; font-size: 13px; color: var(--soft); } .tile strong { font-size: 24px; }
.tile small { color: var(--soft); font-size: 12px; }
.phase, .state { border-radius: 999px; padding: 1px 10px; font-size: 13px; border: 1px solid currentColor; color: var(--soft);
  white-space: nowrap; }
.succeeded { color: var(--good); } .failed { color: var(--bad); } .running { color: var(--accent); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th { text-align: left; font-weight: 500; color: var(--soft); }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td:first-child, .one-line { white-space: nowrap; }
code, pre { font: 12px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; } pre { overflow-x: auto; }
.digest { color: var(--soft); font-size: 10.5px; white-space: nowrap; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 22px; align-items: start; }
figure { margin: 0; } figcaption { font-size: 13px; color: var(--soft); margin-bottom: 4px; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font-size: 12px; }
svg text.row, svg text.name { fill: var(--ink); } .grid { stroke: var(--line); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .front { fill: none; stroke: var(--soft); stroke-dasharray: 4 4; }
.mark { fill: var(--card); stroke: var(--accent); stroke-width: 2; } .mark.strong { fill: var(--accent); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13px; margin: 4px 0 0; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 14px; }
.gallery img { width: 100%; border-radius: 6px; display: block; }
.gallery figcaption { margin: 4px 0 0; overflow-wrap: anywhere; }
ul { margin: 0; padding-left: 20px; } .warning { color: var(--warn); }
footer { margin-top: 18px; color: var(--soft); font-size: 12px; }
@media print { section { break-inside: avoid; } body { background: none; } }
"""
