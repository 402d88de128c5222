"""How the board looks as a page of its own: light and dark as the reader's machine has it, nothing fetched."""

STYLE = """
:root { --ink: #17202b; --soft: #5b6878; --line: #dde2e9; --paper: #fff; --mark: #b45309; --bad: #b42318; --band: #f1f3f6;
  --run-1: #0f766e; --run-2: #b45309; --run-3: #4f46e5; --run-4: #be185d;
  --run-5: #4d7c0f; --run-6: #0369a1; --run-7: #7c3aed; --run-8: #57534e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e9f0; --soft: #a3b0c0; --line: #263241; --paper: #0d1117; --mark: #f5b04c; --bad: #f97066; --band: #1b2430;
    --run-1: #2dd4bf; --run-2: #f5b04c; --run-3: #a5b4fc; --run-4: #f9a8d4;
  --run-5: #bef264; --run-6: #7dd3fc; --run-7: #c4b5fd; --run-8: #d6d3d1; }
}
body { font: 14px/1.45 'IBM Plex Sans', system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 24px; }
h1 { font-size: 20px; } h2 { font-size: 15px; margin: 24px 0 8px; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: 5px 10px; border-bottom: 1px solid var(--line); }
th, td { font-weight: 400; max-width: 340px; overflow-wrap: anywhere; }
thead th { font-weight: 700; } tbody th { color: var(--soft); }
tr.group th { background: var(--band); font-weight: 700; font-size: 12px; }
tr.differs th { color: var(--ink); } b { color: var(--mark); }
.note { color: var(--mark); border-left: 3px solid var(--mark); padding-left: 8px; } .problem { color: var(--bad); font-weight: 400; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px; }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 4px 16px; } code { color: var(--soft); font-size: 12px; }
.wide { overflow-x: auto; } svg { max-width: 760px; width: 100%; display: block; } svg text { font-size: 11px; fill: var(--soft); }
.pictures img { width: 128px; image-rendering: pixelated; border-radius: 4px; }
#only:checked ~ .wide tr.same { display: none; }
"""
