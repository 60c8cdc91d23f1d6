"""The style sheet of the page: light and dark, wide and narrow, paper."""

CSS = """
:root{color-scheme:light dark;--ground:#fbfaf7;--card:#fff;--ink:#26231f;--soft:#6c665d;--rule:#e5dfd5;
--accent:#2c5d8f;--good:#1d7a4c;--good-ground:#e6f3eb;--bad:#a5402b;--bad-ground:#f8e9e4;--second:#b4632a;
--third:#6b4f9a;--fourth:#2f7d7a}
@media (prefers-color-scheme:dark){:root{--ground:#15171a;--card:#1c1f23;--ink:#e6e1d8;--soft:#9d978c;
--rule:#31353b;--accent:#8fb8e0;--good:#6cc596;--good-ground:#1b3026;--bad:#e6927b;--bad-ground:#38221d;
--second:#e0a06a;--third:#b7a0e0;--fourth:#73c2bd}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",
Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
main,header.top{max-width:74rem;margin:0 auto;padding:0 1.25rem}
header.top{padding-top:2.75rem}
h1,h2,h3{font-family:ui-serif,Georgia,"Times New Roman",serif;font-weight:600;line-height:1.2;
text-wrap:balance}
h1{font-size:clamp(1.8rem,5vw,2.6rem);margin:0 0 .4rem}
h2{font-size:1.55rem;margin:3.5rem 0 .8rem;padding-top:1.2rem;border-top:1px solid var(--rule)}
h3{font-size:1.12rem;margin:2rem 0 .6rem}
ins{text-decoration:none;color:var(--good);font-weight:600}del{color:var(--bad)}
p{margin:.5rem 0;max-width:46rem}
.small{font:400 .85rem/1.5 system-ui,sans-serif}
.soft,figcaption,caption,.scores{color:var(--soft)}
.lead{font-size:1.08rem;color:var(--soft)}
.toc{margin-top:1.6rem;font-size:.95rem}.toc ul{list-style:none;margin:0;padding:0;color:var(--soft)}
.systems{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,14rem),1fr));gap:.9rem;
margin:1.4rem 0 2.2rem}
.systems>div{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:.9rem 1rem}
.systems h2{font-size:1.15rem!important;margin:0 0 .3rem!important}
.systems p{font-size:.92rem;margin:.3rem 0}
.systems .badge{display:inline-block;margin:.1rem .2rem .1rem 0}.systems a{margin-right:.7rem}
.terms dl{margin:.3rem 0 .9rem;display:grid;gap:.15rem 2rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,30rem),1fr))}
.terms dl>div{display:grid;grid-template-columns:9.5rem 1fr;gap:.8rem;font-size:.88rem;padding:.15rem 0}
.terms dt{font-weight:600}.terms dd{margin:0;color:var(--soft)}.terms dt.name{font-size:.82rem}
section[id]{scroll-margin-top:.5rem}h3.system{font-size:1.3rem;margin-top:2.6rem}
#headline h2{margin:1.6rem 0 .4rem;padding:0;border:0}#headline .scroll{margin:.4rem 0}
h4{font-size:.95rem;margin:1.4rem 0 .4rem}
.claims th .words{display:block;font-weight:400;text-align:left;font-size:.92rem}
.claims td{white-space:nowrap}
.claims{width:100%}.claims th[scope=row]{text-align:left;min-width:23rem;padding-right:1rem}
.claims th,.claims td{padding-right:1.1rem}
.claims thead th:nth-child(2),.claims thead th:last-child{text-align:left}
.claims td[data-name=on]{white-space:normal;min-width:7rem}.claims .badge{margin:0}
.claims td .small{margin-left:.3rem}
tbody th small{display:block;font-weight:400;color:var(--soft);font-size:.78rem}
summary{padding:.35rem 0}summary b{color:var(--ink);font-family:ui-serif,Georgia,"Times New Roman",serif}
table.gates{width:100%;max-width:46rem}
table.gates th[scope=row]{white-space:nowrap}
table.gates{table-layout:fixed}table.gates th:first-child{width:8.5rem}table.gates th.wide{width:auto}
table.gates thead th:nth-child(n+3){width:5.6rem}
svg.bar{display:block;width:100%;height:1.3rem;border-radius:4px}.spot{width:10px;height:10px}
.g0{fill:var(--accent)}.g1{fill:var(--second)}.g2{fill:var(--third)}
.writings{display:grid;gap:1.1rem;margin:1rem 0}
.case.writing{grid-template-columns:9rem minmax(0,1fr)}
.writing .photo img{width:100%;height:auto;aspect-ratio:1;object-fit:contain;background:#fff;
border-radius:6px;display:block;border:1px solid var(--rule);margin-bottom:.5rem}
.writing .photo .badge{display:inline-block;margin:0 0 .2rem;white-space:normal;border-radius:6px}
.writing .photo .small{display:block}
.writing .scroll{margin:0}.writing table{width:100%;font-size:.86rem;table-layout:fixed;min-width:44rem}
.writing th,.writing td{text-align:left;padding:.25rem .9rem .25rem 0}
.writing th:first-child{color:var(--soft);font-weight:400;width:7.5rem}
.writing tr.title td{font-weight:500}
a{color:var(--accent);text-decoration-thickness:1px;text-underline-offset:.2em}
code,.name{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;
font-size:.9em}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.75rem;margin:1.2rem 0;
padding:0}
.tiles div{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:.7rem .9rem}
.tiles dt{font-size:.82rem;color:var(--soft)}
.tiles dd{margin:0;font:600 1.45rem/1.25 ui-serif,Georgia,"Times New Roman",serif;
font-variant-numeric:tabular-nums}
.side{display:flex;flex-wrap:wrap;gap:0 4rem;align-items:flex-start}.side .scroll{max-width:100%}
.scroll{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.94rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-size:.88rem;padding-bottom:.5rem}
th,td{padding:.42rem 1.4rem .42rem 0;text-align:right;vertical-align:top;
border-bottom:1px solid var(--rule)}
th{font-weight:600}
th:first-child,td.words,th.words{text-align:left}
thead th{color:var(--soft);font-size:.85rem;vertical-align:bottom;white-space:nowrap}
thead th small{display:block;font-weight:400}
tbody th{font-weight:500;overflow-wrap:normal}
td .interval{display:block;font-size:.8rem;color:var(--soft);white-space:nowrap}
td svg.strip{display:block;width:6.5rem;height:10px;margin:.2rem 0 0 auto}
.results thead th{white-space:normal}.results th[scope=row]{min-width:8rem}
.results.many{width:100%}.results.many th,.results.many td{padding-right:.75rem}
.results.many td .interval{font-size:.72rem}.results.many td svg.strip{width:5.4rem}
.results thead th .name{display:inline-block;max-width:8.6rem}
.results.many thead th .name{font-size:.8rem}.paired{width:auto!important}
.paired.many thead th,.paired thead th{min-width:7.2rem}.paired tbody tr:hover{background:var(--card)}
.mark-better{color:var(--good)}.mark-worse{color:var(--bad)}.mark-unclear,.mark-none{color:var(--soft)}
table.quality small{display:block;color:var(--soft)}
.best strong{color:var(--good)}
.best em,.badge{font:600 .74rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;
border-radius:99px;padding:.08rem .5rem;
white-space:nowrap}
.best em,.badge.good{background:var(--good-ground);color:var(--good)}
.badge.bad{background:var(--bad-ground);color:var(--bad)}
.badge{margin-right:.4rem}h3 .badge,h3 .small{margin-left:.35rem}
.badge.plain{border:1px solid var(--rule);color:var(--soft);font-weight:500}
.interval{white-space:nowrap}
.rail{stroke:var(--rule)}.whisker{stroke:var(--accent);stroke-width:3;stroke-linecap:round;opacity:.5}
.dot{fill:var(--accent)}
ul.tests,ul.reading{padding-left:0;list-style:none;max-width:52rem}
ul.tests li,ul.reading li{padding:.4rem 0;border-bottom:1px solid var(--rule)}
ul.tests li{font-variant-numeric:tabular-nums;font-size:.94rem}
ul.tests .badge{display:inline-block;min-width:7.2rem;text-align:center;margin-right:.6rem}
.reading{background:var(--card);border:1px solid var(--rule);border-left:3px solid var(--accent);
border-radius:6px;padding:.4rem 1.1rem!important}
.reading li:last-child{border-bottom:0!important}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:1.5rem;
margin:1rem 0}
figure{margin:0}
.charts figure{display:grid;grid-row:span 2;grid-template-rows:subgrid;align-items:end;row-gap:.2rem}
.charts figcaption{font-size:.9rem;margin-bottom:.3rem}.charts figcaption b{color:var(--ink);
margin-right:.4rem}
.charts svg{width:100%;height:auto;display:block}
.charts text{fill:var(--soft);font:11px system-ui,sans-serif;font-variant-numeric:tabular-nums}
.grid{stroke:var(--rule);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.l0{stroke:var(--accent);color:var(--accent)}.l1{stroke:var(--second);color:var(--second);
stroke-dasharray:6 4}
.l2{stroke:var(--third);color:var(--third);stroke-dasharray:2 4}
.l3{stroke:var(--fourth);color:var(--fourth);stroke-dasharray:9 3 2 3}
.key{white-space:nowrap;margin-right:.9rem}.key svg{display:inline-block;width:22px;height:8px;
margin-right:.3rem}
.cases{display:grid;gap:.8rem;margin:1rem 0}
.case{display:grid;grid-template-columns:13.5rem minmax(0,1fr);gap:1.2rem;align-items:start}
.case,.product{background:var(--card);border:1px solid var(--rule);border-radius:10px;
padding:.9rem 1rem 1rem}
.case h4{margin:0 0 .15rem;font:600 1rem/1.35 ui-serif,Georgia,"Times New Roman",serif}
.case .badge{display:inline-block;margin:.2rem 0 .3rem}
.scores{font-size:.8rem;margin:0}
.found{display:grid;grid-template-columns:repeat(6,minmax(0,8rem));gap:.8rem;list-style:none;margin:0;
padding:0}
.found img,.product img{width:100%;height:auto;aspect-ratio:1;object-fit:contain;background:#fff;
border-radius:6px;
display:block;border:1px solid var(--rule)}
.found .hit img{border-color:var(--good);box-shadow:0 0 0 2px var(--good)}
.found .sought img{border:1px dashed var(--soft)}
.found span{display:block;font-size:.8rem;line-height:1.3}
.found .mark{margin-top:.35rem;color:var(--soft)}.found .hit .mark{color:var(--good);font-weight:600}
.found .sought .mark{font-style:italic}
.clamp{display:-webkit-box!important;-webkit-line-clamp:2;-webkit-box-orient:vertical;overflow:hidden}
.boxes,.products{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,11rem),1fr));gap:1rem;
margin:1rem 0}
.boxes svg{width:100%;height:auto;display:block;border-radius:6px;background:#fff}
.boxes figcaption{font-size:.84rem;line-height:1.4;margin-top:.35rem}
.boxes figcaption .small{white-space:nowrap}
.boxes small{display:block;font-size:.78rem}
.true-under,.found-under,.cross-under{fill:none;stroke:#fff;stroke-opacity:.8;stroke-width:4}
.true-box{fill:none;stroke:#12924f;stroke-width:2}.found-box{fill:none;stroke:#1d4ed8;stroke-width:2;
stroke-dasharray:5 4}
.cross{fill:none;stroke:#d6204e;stroke-width:2.2}
.swatch{display:inline-block;width:46px;height:16px;vertical-align:-3px;background:#fff;border-radius:3px}
.products{grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr))}
.product{display:grid;grid-template-columns:7rem minmax(0,1fr);gap:1rem;font-size:.86rem;line-height:1.4}
.product h4{margin:0 0 .2rem;font:600 .96rem/1.3 ui-serif,Georgia,"Times New Roman",serif}
.product p{margin:.15rem 0}
.product ul{list-style:none;margin:.4rem 0 0;padding:0;columns:11rem 2;column-gap:1.2rem}
.product .acts{line-height:1.8}
.acts .badge{display:inline-block;max-width:100%;white-space:normal;border-radius:10px}
.product li{margin:0;padding:.05rem 0;break-inside:avoid}.product li>span:first-child{color:var(--soft)}
details{margin:1rem 0}details:not([open])+details:not([open]){margin-top:-.6rem}
summary{cursor:pointer;color:var(--accent)}
.empty{color:var(--soft);font-style:italic}
footer{color:var(--soft);font-size:.85rem;border-top:1px solid var(--rule);margin:4rem 0 2rem;
padding-top:1rem}
@media (max-width:34rem){.found{grid-template-columns:repeat(3,minmax(0,1fr))}
.product{grid-template-columns:5.5rem minmax(0,1fr)}h2{margin-top:2.6rem}th,td{padding-right:1rem}
ul.tests .badge{display:table;margin-bottom:.2rem}
.results,.results tbody,.results tr,.results th,.results td{display:block;width:100%}.results thead{
display:none}
.claims,.claims tbody,.claims tr,.claims th,.claims td{display:block;width:100%}.claims thead{display:none}
.claims tr{padding:.7rem 0;border-bottom:1px solid var(--rule)}.claims th[scope=row],.claims td{border:0;
padding:.08rem 0}.claims td{display:block;text-align:left}
.claims .interval{display:inline!important}
.claims td::before{content:attr(data-name);color:var(--soft);display:inline-block;width:6rem}
.case,.case.writing{grid-template-columns:minmax(0,1fr);gap:.6rem}.results td.none{display:none!important}
.terms dl>div{grid-template-columns:1fr;gap:0}.claims th[scope=row]{min-width:0}
.writing .photo{display:grid;grid-template-columns:6rem 1fr;
gap:0 .8rem;align-items:start}
.writing .photo img{grid-row:1/3}
.results th{padding:1rem 0 .1rem;border:0;font-weight:600}.results td{display:flex;gap:.1rem .5rem;
flex-wrap:wrap;align-items:baseline;padding:.25rem 0!important}
.results td::before{content:attr(data-variant);
text-align:left;flex:1}.results td .strip{display:none!important}
.found span{font-size:.76rem}
table.gates th,table.gates td{padding-right:.4rem}table.gates th:first-child{width:5.6rem}
table.gates thead th:nth-child(n+3){width:3.3rem;font-size:.72rem}table.gates .spot{display:none}
table.gates th[scope=row]{font-size:.84rem}
.boxes{grid-template-columns:repeat(2,minmax(0,1fr))}}
@media print{:root{--ground:#fff;--card:#fff}nav{display:none}.case,.product,figure,tr{break-inside:avoid}
h2,h3,h4{break-after:avoid}details:not(.more)::details-content{content-visibility:visible;height:auto}
.scroll{overflow:visible}}
"""
