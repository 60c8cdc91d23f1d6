"""The HTML of the page, as Jinja templates; everything put in is escaped by Jinja's autoescape."""

from __future__ import annotations

from components.report.page.gallery_template import EVIDENCE, PRODUCTS, SEARCHES

MACROS = """
{% macro text(value) %}<bdi>{{ value|clip }}</bdi>{% endmacro %}
{% macro image(product_id, alt) -%}
{% set p = pictures[product_id] -%}
<img src="{{ p.uri }}" width="{{ p.width }}" height="{{ p.height }}" alt="{{ alt|clip }}" loading="lazy">
{%- endmacro %}
{% macro bounds(cell) -%}
{% if cell.low is not none and cell.high is not none %}<span class="interval"> [{{ cell.low|number }}, {{ cell.high|number }}]</span>{% endif %}
{%- endmacro %}
{% macro strip(cell) -%}
{% if cell.low is not none and cell.high is not none and 0 <= cell.low and cell.high <= 1 -%}
<svg class="strip" viewBox="0 0 104 10" aria-hidden="true"><line class="rail" x1="2" x2="102" y1="5" y2="5"/>
<line class="whisker" x1="{{ (2 + 100 * cell.low)|round(1) }}" x2="{{ (2 + 100 * cell.high)|round(1) }}" y1="5" y2="5"/>
<circle class="dot" cx="{{ (2 + 100 * cell.value)|round(1) }}" cy="5" r="3"/></svg>
{%- endif %}
{%- endmacro %}
{% macro table(figures, metrics) -%}
{% set shown = figures.variants|length %}
<div class="scroll"><table class="results{% if shown > 5 %} many{% endif %}">
<thead><tr><th scope="col">Metric</th>
{% for variant, row in figures.variants.items() if row %}<th scope="col"><span class="name">{{ variant|broken }}</span>
{% set note = figures.note(variant, params.pretrained) %}{% if note %}<small>{{ note }}</small>{% endif %}</th>{% endfor %}
</tr></thead><tbody>
{% for metric in metrics %}{% set best = figures|best(metric) %}{% set n = figures|usual_n(metric) %}
<tr><th scope="row">{{ metric|metric }}{% if n is not none %}<small>n={{ n|thousands }}</small>{% endif %}</th>
{% for variant, row in figures.variants.items() if row %}{% set cell = row.get(metric) %}
{% set note = figures.note(variant, params.pretrained) %}{% set name = variant ~ (", " ~ note if note else "") -%}
<td data-variant="{{ name }}" class="{% if variant == best %}best{% endif %}{% if cell is none %} none{% endif %}">
{% if cell is none %}<span class="soft">–</span>
{% else %}<span>{% if variant == best %}<em>best</em> {% endif %}<strong>{{ cell.value|number }}</strong></span>
<span class="interval">{% if cell.low is not none and cell.high is not none -%}
[{{ cell.low|number }}, {{ cell.high|number }}]{% endif %}</span>
{%- if n != cell.n %}<span class="interval">n={{ cell.n|thousands }}</span>{% endif %}{{ strip(cell) }}{% endif %}</td>
{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{%- endmacro %}
{% macro mark(v) -%}
<span class="mark-{{ v or "none" }}">{{ {"better": "▲", "worse": "▼"}.get(v, "○") }}</span>
{%- endmacro %}
{% macro paired(figures, tests) -%}
<p class="soft small">Paired tests: difference and its 95% interval. ▲ the first named is better, ▼ worse, ○ neither is shown.</p>
<div class="scroll"><table class="results paired{% if tests.pairs|length > 5 %} many{% endif %}">
<thead><tr><th scope="col">Metric</th>{% for a, b in tests.pairs %}<th scope="col"><span class="name">{{ a|broken }}</span><small>against</small>
<span class="name">{{ b|broken }}</span></th>{% endfor %}</tr></thead><tbody>
{% for row in tests.rows %}<tr><th scope="row">{{ row.metric|metric }}{% if row.n is not none %}<small>n={{ row.n|thousands }}</small>{% endif %}</th>
{% for a, b in tests.pairs %}{% set test = row.tests[loop.index0] -%}
<td data-variant="{{ a }} against {{ b }}"{% if test is none %} class="none"{% endif %}>{% if test is none %}<span class="soft">–</span>{% else %}
<span>{{ mark(figures|verdict(test)) }} <strong>{{ test.difference|signed }}</strong></span>
<span class="interval">[{{ test.low|number }}, {{ test.high|number }}]</span>
{%- if row.n is none %}<span class="interval">n={{ test.n|thousands }}</span>{% endif %}{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{%- endmacro %}
{% macro explained(figures, metrics) -%}
{% set said = glossary.VARIANTS.get(figures.system, {}) %}
<details class="terms"><summary>What the names mean</summary><div>
{% if figures.variants|select("in", said)|list %}<dl>{% for variant in figures.variants if variant in said %}<div><dt class="name">{{ variant }}</dt>
<dd>{{ said[variant] }}</dd></div>{% endfor %}</dl>{% endif %}
<dl>{% for name, meaning in metrics|measures %}<div><dt>{{ name }}</dt><dd>{{ meaning }}</dd></div>{% endfor %}</dl></div></details>
{%- endmacro %}
{% macro standing(row) -%}
<span class="badge {{ {'shown': 'good', 'opposite': 'bad'}.get(row.standing, 'plain') }}">
{{- {'shown': '✓ shown', 'opposite': '✗ contradicted', 'open': '○ not shown'}.get(row.standing, 'not tested') }}</span>
{%- endmacro %}
{% macro taken(t) -%}
{% if t.claims or t.losses or t.caveats %}<h4>What to take away</h4><ul class="reading">
{% for row in t.claims %}<li>{{ standing(row) }} <span class="name">{{ row.claim.ours }}</span> {{ row.relation }}
<span class="name">{{ row.claim.rival }}</span> on {{ row.claim.metric|metric }}: {{ row.ours.value|number }} and {{ row.rival.value|number }}
{%- if row.test %}, difference {{ row.test.difference|signed }}{{ bounds(row.test) }}, n={{ row.test.n|thousands }}{% endif %}</li>
{% endfor %}{% for line in t.losses %}<li><span class="badge bad">▼ also worse</span> {{ line }}</li>
{% endfor %}{% for line in t.caveats %}<li class="soft">{{ line }}</li>
{% endfor %}</ul>{% endif %}
{%- endmacro %}
{% macro chart(c, stage="") -%}
<figure><figcaption>{% if stage %}<b class="name">{{ stage }}</b> <span>{{ glossary.STAGES.get(stage, "") }}</span><br>{% endif %}
{% if c.lines|length == 1 %}{{ "" if stage else "<b>"|safe }}{{ c.title }}{{ "" if stage else "</b>"|safe }}
{%- if c.lines[0].name.startswith("val") %} on validation{% endif %} ends at {{ c.lines[0].last }}
{% else %}<b>{{ c.title }}</b> {% for line in c.lines %}<span class="key"><svg viewBox="0 0 22 8" aria-hidden="true">
<line class="line l{{ loop.index0 % 4 }}" x1="1" x2="21" y1="4" y2="4"/></svg>{{ line.name|plain }} ends at {{ line.last }}</span>
{% endfor %}{% endif %}</figcaption>
<svg viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="{{ stage }} {{ c.title }} by step">
{% for y, tick in c.y_ticks %}<line class="grid" x1="{{ left }}" x2="{{ width - right }}" y1="{{ y }}" y2="{{ y }}"/>
<text x="{{ left - 6 }}" y="{{ y + 4 }}" text-anchor="end">{{ tick }}</text>{% endfor %}
{% for x, tick in c.x_ticks %}<text x="{{ x }}" y="{{ height - bottom + 16 }}" text-anchor="middle">{{ tick }}</text>
{% endfor %}<text x="{{ width - right }}" y="{{ height - 2 }}" text-anchor="end">step</text>
{% for line in c.lines %}{% set at = loop.index0 % 4 %}{% if line.dots|length != 1 %}<polyline class="line l{{ at }}" points="{{ line.points }}"/>{% endif %}
{% for x, y in line.dots %}<circle class="l{{ at }}" fill="currentColor" cx="{{ x }}" cy="{{ y }}" r="3"/>
{% endfor %}{% endfor %}</svg></figure>
{%- endmacro %}
"""  # noqa: E501

HEADLINE = """
<section id="headline">
<div class="systems">{% for group in groups %}<div><h2>{{ group.name }}</h2><p>{{ group.does }}</p>
<p class="counts">{% set c = group.count %}{% if c.contradicted %}<span class="badge bad">✗ {{ c.contradicted }} contradicted</span>{% endif %}
{% if c.not_shown %}<span class="badge plain">○ {{ c.not_shown }} not shown</span>{% endif %}
{% if c.shown %}<span class="badge good">✓ {{ c.shown }} shown</span>{% endif %}</p>
<p class="small">{% for system in group.systems %}<a href="#results-{{ system }}">{{ "its figures" if group.systems|length == 1 else (system|system).split(", ")[-1] }}</a>
{% endfor %}</p></div>{% endfor %}</div>
{% if claims %}<h2>What this run shows</h2>
<div class="scroll"><table class="claims">
<thead><tr><th scope="col">Claim</th><th scope="col">On</th><th scope="col">Ours</th><th scope="col">Rival</th>
<th scope="col">Difference</th><th scope="col">n</th><th scope="col">Verdict</th></tr></thead><tbody>
{% for row in claims %}{% set c = row.claim %}
<tr><th scope="row"><a href="#results-{{ c.system }}">{{ c.system|system }}</a>
<span class="words"><span class="name">{{ c.ours }}</span> {{ row.relation }} <span class="name">{{ c.rival }}</span></span></th>
<td class="words" data-name="on">{{ c.metric|metric }}</td>
<td data-name="ours">{{ row.ours.value|number }}{{ bounds(row.ours) }}</td>
<td data-name="rival">{{ row.rival.value|number }}{{ bounds(row.rival) }}</td>
{% if row.test %}<td data-name="difference"><strong>{{ row.test.difference|signed }}</strong>{{ bounds(row.test) }}</td>
<td data-name="n">{{ row.test.n|thousands }}</td>
<td class="words" data-name="verdict">{{ standing(row) }}{% if row.few %} <span class="soft small">few cases</span>{% endif %}</td>
{% else %}<td data-name="difference"><span class="soft">–</span></td><td data-name="n"><span class="soft">–</span></td>
<td class="words" data-name="verdict">{{ standing(row) }}</td>{% endif %}</tr>
{% endfor %}</tbody></table></div>
<p class="soft small">Ours and rival: the two rows that the claim names. Difference: ours less rival, of means over the same n test cases,
with its 95% interval by paired bootstrap. A claim is shown when that whole interval lies on the claimed side of zero and contradicted when it lies
on the other; “is not below” and “is not above” allow a loss of {{ params.claim_margin|number }}. Few cases: fewer than {{ claim_n|thousands }},
so an indication only. The claims are parameters (report.claims); all of them stand here, held or not.</p>{% endif %}</section>
"""  # noqa: E501

CONTENTS = """
<nav class="toc" aria-label="Contents"><ul>
<li><a href="#results">Results</a>: {% for result in results %}<a href="#results-{{ result.figures.system }}">{{ result.figures.system|system }}</a>
{{- " · " if not loop.last }}{% endfor %}</li>
{% if searches %}<li><a href="#searches">Searches</a>: {% for gallery in searches %}<a href="#searches-{{ gallery.system }}">{{ gallery.system|system }}</a>
{{- " · " if not loop.last }}{% endfor %}</li>{% endif %}
<li>{% if gates_plot %}<a href="#gates">Gate weights</a> · {% endif %}<a href="#grounding">Grounding</a> ·
{% if generated %}<a href="#listings">Generated listings</a> ·{% endif %} <a href="#products">The catalogue</a> ·
{% if curves %}<a href="#curves">Training curves</a> ·{% endif %} <a href="#run">What was run</a></li></ul></nav>
"""  # noqa: E501

SHOP = """
<section id="run"><h2>What was run</h2>
<p>Profile <span class="name">{{ params.profile }}</span>. The counts are of the checked catalogue: what the
quality gates let through.</p>
<dl class="tiles">
{% for name, count in tiles %}<div><dt>{{ name }}</dt><dd>{{ count|thousands }}</dd></div>
{% endfor %}</dl>
<div class="side">{% for caption, head, names, counted in counts if names %}<div class="scroll"><table><caption>{{ caption }}</caption>
<thead><tr><th scope="col">{{ head }}</th>{% for split in checked.splits %}<th scope="col">{{ split }}</th>{% endfor %}
<th scope="col">all</th></tr></thead><tbody>
{% for name in names %}<tr><th scope="row">{{ text(name) }}</th>
{% set ns = namespace(all=0) %}{% for split in checked.splits %}{% set count = counted[(name, split)] %}
{% set ns.all = ns.all + count %}<td>{{ count|thousands }}</td>{% endfor %}<td>{{ ns.all|thousands }}</td></tr>
{% endfor %}</tbody></table></div>{% endfor %}</div>
{% if gates %}<h3>Quality gates</h3><p class="soft">Each gate's own page, with every check, is reports/quality/NAME.html.</p>
<div class="scroll"><table class="quality"><thead><tr><th scope="col">Gate</th><th scope="col" class="words">Verdict</th><th scope="col" class="words">Rows</th></tr></thead><tbody>
{% for gate in gates %}<tr><th scope="row">{{ gate.gate }}{% if gate.gate in glossary.GATES %}<small>{{ glossary.GATES[gate.gate] }}</small>{% endif %}</th>
<td class="words">{% if gate.passed %}<span class="badge good">✓ passed</span>{% else %}<span class="badge bad">✗ failed</span>{% endif %}</td>
<td class="words">{% for kind in gate.kinds %}{{ kind.name }}
{%- if kind.rows is not none %}: {{ kind.rows|thousands }} checked{% endif %}
{%- if kind.quarantined is not none %}, {{ kind.quarantined|thousands }} set aside{% endif %}
{%- if not loop.last %}<br>{% endif %}{% endfor %}
{% for reason, count in gate.reasons %}<small>{{ text(reason) }}: {{ count|thousands }}</small>{% endfor %}</td></tr>
{% endfor %}</tbody></table></div>{% endif %}</section>
"""  # noqa: E501

RESULTS = """
<section id="results"><h2>Results</h2>
<p class="soft">Each figure stands with its 95% interval, and with a bar that runs from 0 to 1; n is the number of test cases: queries, products or
groups of variants of one product. A figure is marked “best” only where paired tests put it ahead of every other row. Intervals cover another draw of
test cases, not another training with another seed; p-values are not corrected for their number.</p>
{% for result in results %}{% set figures = result.figures %}<section id="results-{{ figures.system }}">
<h3 class="system">{{ figures.system|system }}</h3>
{% if figures.system in glossary.SYSTEMS %}<p>{{ glossary.SYSTEMS[figures.system] }}</p>{% endif %}
{% if figures.metrics %}{{ taken(result.takeaway) }}
{{ explained(figures, figures.tested) }}
{{ table(figures, figures.tested) }}
{% set others = figures.metrics|reject("in", figures.tested)|list %}
{% if others %}<details class="more"><summary>{{ others|length }} more, without a paired test</summary>
{{ table(figures, others) }}</details>{% endif %}
{% if figures.tests %}{{ paired(figures, result.tests) }}
{% set counts = figures|verdict_counts %}<details class="more"><summary>{{ figures.tests|length }} paired test{{ "s" if figures.tests|length != 1 }}:
{{ counts.better }} better, {{ counts.unclear }} not shown, {{ counts.worse }} worse; each with its p-value</summary>
<p class="soft">Difference of means with its 95% interval, by bootstrap over the same test cases.</p><ul class="tests">
{% for test in figures.tests %}{% set v = figures|verdict(test) -%}
<li><span class="badge {{ {'better': 'good', 'worse': 'bad'}.get(v, 'plain') }}">
{{- {'better': '▲ better', 'worse': '▼ worse'}.get(v, '○ not shown') }}</span>{{ test|words }}</li>
{% endfor %}</ul></details>{% else %}<p class="empty">No paired test was recorded for {{ figures.system }}.</p>{% endif %}
<details><summary>Honest reading: what the tests say, pair by pair</summary>
<ul class="reading">{% for line in result.reading %}<li>{{ line }}</li>
{% endfor %}</ul></details>
{% else %}<p class="empty">Nothing could be measured: this catalogue lacks what {{ figures.system }} is scored against.</p>{% endif %}
</section>{% endfor %}</section>
"""  # noqa: E501

CURVES = """
{% if curves %}<section id="curves"><h2>Training curves</h2>
<p>What each stage minimised, by step.{% if averaged > 1 %} Long curves are drawn as means of up to {{ averaged }} neighbouring steps.{% endif %}
Losses of different stages are different sums: compare a curve with itself, not its end with another's. Folded below: learning rates, the parts of which a loss is the sum (pooled, topk,
text, image), and figures on the validation split.</p>
<div class="charts">{% for drawn in curves if drawn.first %}{{ chart(drawn.first, drawn.stage) }}
{% endfor %}</div>
{% for drawn in curves if not drawn.first %}<p class="empty">plots/{{ drawn.stage }}.csv holds no point.</p>{% endfor %}
{% for drawn in curves if drawn.rest %}<details><summary>{{ drawn.stage }}: <span class="soft small">
{%- for c in drawn.rest %}{{ c.title }}{{ ", " if not loop.last }}{% endfor %}</span></summary>
<div class="charts">{% for c in drawn.rest %}{{ chart(c) }}
{% endfor %}</div></details>{% endfor %}</section>{% endif %}
"""  # noqa: E501

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ params.title|clip }}</title><link rel="icon" href="data:,"><style>{{ css }}</style></head>
{% from "macros.html" import text, image, strip, bounds, table, paired, explained, standing, taken, chart with context %}
<body><header class="top"><h1>{{ params.title|clip }}</h1>
<p class="lead">{{ lead }}</p>
</header>
<main>{% include "headline.html" %}{% include "contents.html" %}{% include "results.html" %}{% include "searches.html" %}{% include "evidence.html" %}
{% include "products.html" %}{% include "curves.html" %}{% include "shop.html" %}
<footer>Made by Vitrine from this run's files alone: no script, no network, the same bytes for the same run.</footer>
</main></body></html>
"""  # noqa: E501

TEMPLATES = {
    "macros.html": MACROS,
    "shop.html": SHOP,
    "headline.html": HEADLINE,
    "contents.html": CONTENTS,
    "results.html": RESULTS,
    "curves.html": CURVES,
    "searches.html": SEARCHES,
    "evidence.html": EVIDENCE,
    "products.html": PRODUCTS,
    "page.html": PAGE,
}
