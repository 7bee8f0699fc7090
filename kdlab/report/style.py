"""The page's looks: one column on a phone, readable by day and night, printable."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --quiet: #5a6370; --paper: #fff; --line: #d8dde3; --shade: #f4f6f8;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #b5569a; --c4: #8a6d00; --c5: #3f8fc4; --c6: #7a4fbf;
  --c7: #5f6b7a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --quiet: #9aa5b1; --paper: #14171b; --line: #343b44;
  --shade: #1d2228; --c0: #56b4e9; --c1: #ff9a52; --c2: #3fcf9f; --c3: #e59ccf; --c4: #e6c34a; --c5: #8fcdf2;
  --c6: #b99cf0;
  --c7: #a9b4c0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { margin: 0; font-size: 1.9rem; overflow-wrap: anywhere; }
h2 { margin: 2.4rem 0 .6rem; font-size: 1.25rem; overflow-wrap: anywhere; }
p, li { max-width: 48rem; overflow-wrap: anywhere; }
li { margin-bottom: .35rem; }
.quiet { color: var(--quiet); font-size: .9rem; margin: .3rem 0; }
.wide { overflow-x: auto; margin: .8rem 0; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .45rem .7rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; background: var(--shade); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 600; position: sticky; left: 0; background: var(--paper); min-width: 7rem; max-width: 15rem;
  overflow-wrap: anywhere; }
.numbers td { white-space: nowrap; font-variant-numeric: tabular-nums; }
td b { color: var(--c2); }
td code { overflow-wrap: anywhere; font-size: .88rem; }
.origin thead { display: none; }
.origin tbody th { white-space: nowrap; }
details { margin: .8rem 0; }
summary { cursor: pointer; color: var(--quiet); }
dl { margin: .5rem 0; }
dl div { margin-bottom: .4rem; }
dt { font-weight: 600; }
dd { margin: 0; max-width: 48rem; }
pre { overflow: auto; max-height: 28rem; padding: .8rem; background: var(--shade); border-radius: 6px;
  font-size: .85rem; }
.charts { display: grid; gap: 1.2rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); }
.pictures figure { margin: 0 0 1.2rem; }
.pictures img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .92rem; font-weight: 600; overflow-wrap: anywhere; }
svg { display: block; width: 100%; max-width: 620px; height: auto; font-size: 12px; }
svg text { fill: var(--quiet); }
svg .label { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--line); }
.curve { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
.band { fill: currentColor; opacity: .16; }
.whisker { stroke: currentColor; stroke-width: 1.5; }
.seed { fill: currentColor; opacity: .4; }
.mean { fill: currentColor; stroke: var(--paper); stroke-width: 1.5; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; font-size: .92rem; }
.legend i { display: inline-block; width: 1.3em; border-top: 3px solid currentColor; margin-right: .45em;
  vertical-align: .25em; }
.legend .c3, .legend .c6 { border-top-style: dashed; }
.legend .c4, .legend .c7 { border-top-style: dotted; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); }
.c4 { color: var(--c4); } .c5 { color: var(--c5); } .c6 { color: var(--c6); } .c7 { color: var(--c7); }
@media (max-width: 600px) { table { font-size: .82rem; } th, td { padding: .35rem .5rem; }
  tbody th { min-width: 5rem; max-width: 7rem; } ul { padding-left: 1.2rem; } }
@media print { .wide, pre { overflow: visible; max-height: none; } h2 { break-after: avoid; }
  figure { break-inside: avoid; } }
"""
