"""The HTML of the page, as Jinja templates; everything put in is escaped by Jinja's autoescape."""

from __future__ import annotations

from components.report.gallery_template import EVIDENCE, PRODUCTS, SEARCHES

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
<div class="scroll"><table class="results">
<thead><tr><th scope="col">Metric</th>
{% for variant, row in figures.variants.items() if row %}<th scope="col"><span class="name">{{ variant }}</span>
{% set note = figures.note(variant, params.pretrained) %}{% if note %}<small>{{ note }}</small>{% endif %}</th>{% endfor %}
</tr></thead><tbody>
{% for metric in metrics %}{% set best = figures|best(metric) %}{% set n = figures|shared_n(metric) %}
<tr><th scope="row">{{ metric|metric }}{% if n is not none %}<small>n={{ n|thousands }}</small>{% endif %}</th>
{% for variant, row in figures.variants.items() if row %}{% set cell = row.get(metric) %}
{% set note = figures.note(variant, params.pretrained) %}{% set name = variant ~ (", " ~ note if note else "") -%}
<td data-variant="{{ name }}"{% if variant == best %} class="best"{% endif %}>
{% if cell is none %}<span class="soft">–</span>
{% else %}<span>{% if variant == best %}<em>best</em> {% endif %}<strong>{{ cell.value|number }}</strong></span>
<span class="interval">{% if cell.low is not none and cell.high is not none -%}
[{{ cell.low|number }}, {{ cell.high|number }}]{% endif %}
{%- if n is none %}{{ ", " if cell.low is not none }}n={{ cell.n|thousands }}{% endif %}</span>{{ strip(cell) }}{% endif %}</td>
{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{%- endmacro %}
{% macro chart(c) -%}
<figure><figcaption><b>{{ c.title }}</b>
{% for line in c.lines %}<span class="key"><svg viewBox="0 0 22 8" aria-hidden="true">
<line class="line l{{ loop.index0 % 4 }}" x1="1" x2="21" y1="4" y2="4"/></svg>{{ line.name }} → {{ line.last }}</span>
{% endfor %}</figcaption>
<svg viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="{{ c.title }} by step">
{% for y, tick in c.y_ticks %}<line class="grid" x1="{{ left }}" x2="{{ width - right }}" y1="{{ y }}" y2="{{ y }}"/>
<text x="{{ left - 6 }}" y="{{ y + 4 }}" text-anchor="end">{{ tick }}</text>{% endfor %}
{% for x, tick in c.x_ticks %}<text x="{{ x }}" y="{{ height - bottom + 16 }}" text-anchor="middle">{{ tick }}</text>
{% endfor %}<text x="{{ width - right }}" y="{{ height - 3 }}" text-anchor="end">step</text>
{% for line in c.lines %}{% if line.single -%}
<circle class="l{{ loop.index0 % 4 }}" fill="currentColor" cx="{{ line.single[0] }}" cy="{{ line.single[1] }}" r="3"/>
{%- else %}<polyline class="line l{{ loop.index0 % 4 }}" points="{{ line.points }}"/>{% endif %}
{% endfor %}</svg>
<span class="soft small">{% if c.averaged > 1 %}Each point is the mean of up to {{ c.averaged }} neighbours.{% endif %}</span>
</figure>
{%- endmacro %}
"""  # noqa: E501

HEADLINE = """
<section id="headline">{% if claims %}<h2>What this run shows</h2>
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
<td class="words" data-name="verdict"><span class="badge {{ {'shown': 'good', 'opposite': 'bad'}.get(row.standing, 'plain') }}">
{{- {'shown': '✓ shown', 'opposite': '✗ contradicted', 'open': '○ not shown'}[row.standing] }}</span>
{% if row.few %}<span class="soft small">few cases: an indication</span>{% endif %}</td>
{% else %}<td data-name="difference"><span class="soft">–</span></td><td data-name="n"><span class="soft">–</span></td>
<td class="words" data-name="verdict"><span class="badge plain">not tested</span></td>{% endif %}</tr>
{% endfor %}</tbody></table></div>
<p class="soft small">Differences are of means over the same test cases, with 95% intervals by paired bootstrap. A claim is shown
when its whole interval lies on the claimed side of zero; “is not below” and “is not above” allow a loss of
{{ params.claim_margin|number }}. The claims are parameters (report.claims); all of them stand here, held or not.</p>{% endif %}
<dl class="tiles headline">
{% for name, value in headline.items() %}<div><dt>{{ name|metric }}</dt><dd>{{ value|number }}</dd></div>
{% endfor %}</dl></section>
"""  # noqa: E501

CONTENTS = """
<nav class="toc" aria-label="Contents"><ol>
<li><a href="#results">Results</a><ul>
{% for result in results %}<li><a href="#results-{{ result.figures.system }}">{{ result.figures.system|system }}</a></li>{% endfor %}</ul></li>
{% if curves %}<li><a href="#curves">Training curves</a></li>{% endif %}
{% if searches %}<li><a href="#searches">Searches</a><ul>
{% for gallery in searches %}<li><a href="#searches-{{ gallery.system }}">{{ gallery.system|system }}</a></li>{% endfor %}</ul></li>{% endif %}
{% if gates_plot %}<li><a href="#gates">Gate weights</a></li>{% endif %}
<li><a href="#grounding">Grounding</a></li>
{% if generated %}<li><a href="#listings">Generated listings</a></li>{% endif %}
<li><a href="#products">The catalogue</a></li><li><a href="#run">What was run</a></li></ol></nav>
"""  # noqa: E501

SHOP = """
<section id="run"><h2>What was run</h2>
<p>Profile <span class="name">{{ params.profile }}</span>. The counts are of the checked catalogue: what the
quality gates let through.</p>
<dl class="tiles">
{% for name, count in tiles %}<div><dt>{{ name }}</dt><dd>{{ count|thousands }}</dd></div>
{% endfor %}</dl>
<div class="side"><div class="scroll"><table><caption>Products by category and split</caption>
<thead><tr><th scope="col">Category</th>{% for split in checked.splits %}<th scope="col">{{ split }}</th>{% endfor %}
<th scope="col">all</th></tr></thead><tbody>
{% for category in checked.categories %}<tr><th scope="row">{{ text(category) }}</th>
{% set ns = namespace(all=0) %}{% for split in checked.splits %}{% set count = checked.counts[(category, split)] %}
{% set ns.all = ns.all + count %}<td>{{ count|thousands }}</td>{% endfor %}<td>{{ ns.all|thousands }}</td></tr>
{% endfor %}</tbody></table></div>
{% if query_counts %}<div class="scroll"><table><caption>Queries by kind and split</caption><tbody>
{% for (kind, split), count in query_counts %}<tr><th scope="row">{{ text(kind) }}</th><td class="words">{{ split }}</td>
<td>{{ count|thousands }}</td></tr>
{% endfor %}</tbody></table></div>{% endif %}</div>
{% for gate in gates %}<h3>Quality gate: {{ gate.gate }}
{% if gate.passed %}<span class="badge good">✓ passed</span>{% else %}<span class="badge bad">✗ failed</span>{% endif %}</h3>
{% if gate.kinds %}<p>{% for kind in gate.kinds %}{{ kind.name }}
{%- if kind.rows is not none %}: {{ kind.rows|thousands }} checked{% endif %}
{%- if kind.quarantined is not none %}, {{ kind.quarantined|thousands }} quarantined{% endif %}
{%- if not loop.last %}; {% endif %}{% endfor %}.</p>{% endif %}
{% if gate.reasons %}<div class="scroll"><table><caption>Rows set aside, by reason</caption><tbody>
{% for reason, count in gate.reasons %}<tr><th scope="row">{{ text(reason) }}</th><td>{{ count|thousands }}</td></tr>
{% endfor %}</tbody></table></div>{% endif %}
{% endfor %}</section>
"""  # noqa: E501

RESULTS = """
<section id="results"><h2>Results</h2>
<p class="soft">Value and 95% interval; n is the number of test cases. A figure is marked “best” only where paired
tests put it ahead of every other variant. Intervals cover another draw of test cases, not another training with another
seed; p-values are not corrected for their number.</p>
{% for result in results %}{% set figures = result.figures %}<section id="results-{{ figures.system }}">
<h3 class="system">{{ figures.system|system }}</h3>
{% if figures.metrics %}{{ table(figures, figures.tested) }}
{% set others = figures.metrics|reject("in", figures.tested)|list %}
{% if others %}<details><summary>{{ others|length }} more, without a paired test</summary>
{{ table(figures, others) }}</details>{% endif %}
<h4>Honest reading</h4>
<ul class="reading">{% for line in result.reading %}<li>{{ line }}</li>
{% endfor %}</ul>
{% if figures.tests %}{% set counts = figures|verdict_counts %}<details><summary>{{ figures.tests|length }} paired test{{ "s" if figures.tests|length != 1 }}:
{{ counts.better }} better, {{ counts.unclear }} not shown, {{ counts.worse }} worse</summary>
<p class="soft">Difference of means with its 95% interval, by bootstrap over the same test cases.</p><ul class="tests">
{% for test in figures.tests %}{% set v = figures|verdict(test) -%}
<li><span class="badge {{ {'better': 'good', 'worse': 'bad'}.get(v, 'plain') }}">
{{- {'better': '▲ better', 'worse': '▼ worse'}.get(v, '○ not shown') }}</span>{{ test|words }}</li>
{% endfor %}</ul></details>{% else %}<p class="empty">No paired test was recorded for {{ figures.system }}.</p>{% endif %}
{% else %}<p class="empty">Nothing could be measured: this catalogue lacks what {{ figures.system }} is scored against.</p>{% endif %}
</section>{% endfor %}</section>
{% if curves %}<section id="curves"><h2>Training curves</h2>
{% for stage, drawn in curves %}<details{% if loop.first %} open{% endif %}><summary>{{ stage }}
<span class="soft small">{% for c in drawn if c.lines|length == 1 and c.title == "Loss" %}loss → {{ c.lines[0].last }}{% endfor %}</span></summary>
<div class="charts">
{% for c in drawn %}{{ chart(c) }}
{% endfor %}</div>{% if not drawn %}<p class="empty">plots/{{ stage }}.csv holds no point.</p>{% endif %}</details>
{% endfor %}</section>{% endif %}
"""  # noqa: E501

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ params.title|clip }}</title><link rel="icon" href="data:,"><style>{{ css }}</style></head>
{% from "macros.html" import text, image, strip, bounds, table, chart with context %}
<body><header class="top"><h1>{{ params.title|clip }}</h1>
<p class="lead">{{ lead }}</p>
</header>
<main>{% include "headline.html" %}{% include "contents.html" %}{% include "results.html" %}{% include "searches.html" %}{% include "evidence.html" %}
{% include "products.html" %}{% include "shop.html" %}
<footer>Made by Vitrine from this run's files alone: no script, no network, the same bytes for the same run.</footer>
</main></body></html>
"""  # noqa: E501

TEMPLATES = {
    "macros.html": MACROS,
    "shop.html": SHOP,
    "headline.html": HEADLINE,
    "contents.html": CONTENTS,
    "results.html": RESULTS,
    "searches.html": SEARCHES,
    "evidence.html": EVIDENCE,
    "products.html": PRODUCTS,
    "page.html": PAGE,
}
