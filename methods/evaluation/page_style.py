"""The style of the evaluation page: light and dark, phone and paper, no font or file from anywhere."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --box: #f5f6f8; --text: #1b1f24; --dim: #59636e; --edge: #d3d8de; --band: #b9c0c9;
  --good: #17703a; --bad: #b3261e; --warn: #855700; --line-0: #1f5fbf; --line-1: #b3541e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --box: #1d2126; --text: #e4e8ec; --dim: #9aa5b1; --edge: #363d45; --band: #4d5660;
    --good: #5ccb85; --bad: #ff8a80; --warn: #e3b341; --line-0: #7fb2ff; --line-1: #f0a070;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 3rem; max-width: 62rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid var(--edge); padding-bottom: .2rem; }
h3 { font-size: 1rem; margin: 1.3rem 0 .4rem; }
p { margin: .4rem 0; }
.dim, figcaption { color: var(--dim); font-size: .88rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.loud { font-weight: 700; }
tr.alarm td { background: var(--bad); color: var(--page); font-weight: 700; }
code { font-family: ui-monospace, monospace; font-size: .88em; background: var(--box); padding: .1em .3em;
  border-radius: 3px; }
pre { background: var(--box); padding: .7rem; border-radius: 6px; white-space: pre-wrap; margin: .5rem 0; }
pre code { background: none; padding: 0; }
.verdict { border: 1px solid var(--edge); border-left: 6px solid var(--warn); background: var(--box);
  border-radius: 6px; padding: .7rem 1rem; margin: 1.2rem 0; }
.verdict.obeys { border-left-color: var(--good); }
.verdict.does-not, .verdict.invalid { border-left-color: var(--bad); }
.verdict p:first-child { font-size: 1.15rem; font-weight: 700; }
.verdict ul { margin: .4rem 0 0; padding-left: 1.2rem; }
dl { display: grid; grid-template-columns: fit-content(45%) 1fr; gap: .15rem 1rem; margin: .6rem 0; font-size: .92rem; }
dt { color: var(--dim); } dd { margin: 0; }
.wide { overflow-x: auto; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--edge); white-space: nowrap; }
th { color: var(--dim); font-weight: 600; } th:first-child, td:first-child { padding-left: .2rem; }
.text-1 tr > :nth-child(-n+1), .text-2 tr > :nth-child(-n+2), .text-4 tr > :nth-child(-n+4) { text-align: left; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
figure { margin: 0; break-inside: avoid; max-width: 32rem; }
svg.plot { width: 100%; height: auto; display: block; }
svg text { fill: var(--text); font-size: 12px; }
.axis { stroke: var(--dim); } .grid { stroke: var(--edge); }
.band { fill: var(--band); fill-opacity: .55; stroke: none; }
.line-0, .line-1 { fill: none; stroke-width: 2; }
.line-0 { stroke: var(--line-0); } .line-1 { stroke: var(--line-1); stroke-dasharray: 6 4; }
.whisker { stroke-width: 1; stroke-dasharray: none; }
.line-0.dot { fill: var(--line-0); } .line-1.dot { fill: var(--line-1); stroke: none; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18.5rem), 1fr)); gap: 1rem; }
.pair { border: 1px solid var(--edge); border-radius: 6px; padding: .6rem; background: var(--box);
  break-inside: avoid; }
.name { margin: 0 0 .4rem; font-weight: 600; }
.answer { display: block; }
.row { display: flex; flex-wrap: wrap; gap: .5rem; }
.row figure { width: 8rem; }
img { display: block; width: 8rem; height: 8rem; object-fit: contain; background: #ffffff;
  border: 1px solid var(--edge); image-rendering: pixelated; }
.tag { display: inline-block; font-size: .75rem; font-weight: 400; color: var(--dim); border: 1px solid var(--edge);
  border-radius: 9px; padding: 0 .5em; margin-left: .4em; }
@media (max-width: 40rem) {
  dl.long { grid-template-columns: 1fr; gap: 0; } .long dd { margin-bottom: .4rem; }
  .row figure, img { width: 7.6rem; } img { height: 7.6rem; }
}
@media print {
  :root { --page: #ffffff; --box: #ffffff; --text: #000000; --dim: #444444; --edge: #bbbbbb; --band: #cccccc;
    --good: #17703a; --bad: #b3261e; --warn: #855700; --line-0: #1f5fbf; --line-1: #b3541e; }
  body { font-size: 11pt; max-width: none; padding: 0; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .wide { overflow: visible; } h2, h3 { break-after: avoid; } table { break-inside: avoid; font-size: 9pt; }
}
"""
