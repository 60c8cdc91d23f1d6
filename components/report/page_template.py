"""The HTML of the page, as Jinja templates; everything put in is escaped by Jinja's autoescape."""

MACROS = """
{% macro text(value) %}<bdi>{{ value|clip }}</bdi>{% endmacro %}
{% macro image(product_id, alt) -%}
{% set p = pictures[product_id] -%}
<img src="{{ p.uri }}" width="{{ p.width }}" height="{{ p.height }}" alt="{{ alt|clip }}" loading="lazy">
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
{% for variant in figures.variants %}<th scope="col"><span class="name">{{ variant }}</span>
{% if variant == "untrained" and not params.pretrained %}<small>no pretrained weights</small>{% endif %}</th>{% endfor %}
</tr></thead><tbody>
{% for metric in metrics %}{% set best = figures|best(metric) %}
<tr><th scope="row">{{ metric|metric }}</th>
{% for variant, row in figures.variants.items() %}{% set cell = row.get(metric) %}
{% set name = variant ~ (", no pretrained weights" if variant == "untrained" and not params.pretrained else "") -%}
<td data-variant="{{ name }}"{% if variant == best %} class="best"{% endif %}>
{% if cell is none %}<span class="soft">–</span>
{% else %}<span>{% if variant == best %}<em>best</em> {% endif %}<strong>{{ cell.value|number }}</strong></span>
<span class="interval">{% if cell.low is not none and cell.high is not none -%}
[{{ cell.low|number }}, {{ cell.high|number }}], {% endif %}n={{ cell.n|thousands }}</span>{{ strip(cell) }}{% endif %}</td>
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
{% for result in results %}<h3>{{ result.figures.system|capitalize }}</h3>
<p class="soft">Value and 95% interval; n is the number of test cases. A figure is marked “best” only where paired
tests put it ahead of every other variant.</p>
{{ table(result.figures, result.figures.tested) }}
{% set others = result.figures.metrics|reject("in", result.figures.tested)|list %}
{% if others %}<details><summary>{{ others|length }} more, without a paired test</summary>
{{ table(result.figures, others) }}</details>{% endif %}
<h3>Honest reading</h3>
<ul class="reading">{% for line in result.reading %}<li>{{ line }}</li>
{% endfor %}</ul>
<h3>Paired tests</h3>
{% if result.figures.tests %}<p class="soft">Difference of means with its 95% interval, by bootstrap over the same
test cases.</p><ul class="tests">
{% for test in result.figures.tests %}{% set v = result.figures|verdict(test) -%}
<li><span class="badge {{ {'better': 'good', 'worse': 'bad'}.get(v, 'plain') }}">
{{- {'better': '▲ better', 'worse': '▼ worse'}.get(v, '○ not shown') }}</span>{{ test|words }}</li>
{% endfor %}</ul>{% else %}<p class="empty">No paired test was recorded for {{ result.figures.system }}.</p>{% endif %}
{% endfor %}</section>
{% if curves %}<section id="curves"><h2>Training curves</h2>
{% for stage, drawn in curves %}<h3>{{ stage|capitalize }}</h3><div class="charts">
{% for c in drawn %}{{ chart(c) }}
{% endfor %}</div>{% if not drawn %}<p class="empty">plots/{{ stage }}.csv holds no point.</p>{% endif %}{% endfor %}</section>{% endif %}
"""  # noqa: E501

GALLERIES = """
<section id="searches"><h2>Searches</h2>
{% for gallery in searches %}<p>The first {{ params.retrieval.top }} products that
<span class="name">{{ gallery.variant }}</span> ({{ gallery.system }}) found. A search fails when its
{{ gallery.metric|metric }} is 0. Failures come first; all are drawn at random, none is chosen.
A green frame with ✓ marks a product judged relevant, ✗ one that is not.</p>
{% if gallery.disagreeing %}<p><span class="badge bad">note</span> For {{ gallery.disagreeing }} of the searches shown,
the marks (grade {{ params.retrieval.relevant_from }} and up, first {{ params.retrieval.top }}) and
{{ gallery.metric|metric }} tell different things: report.retrieval does not fit how the evaluation counts.</p>{% endif %}
{% for group in gallery.groups %}<h3>{{ text(group.kind or group.task) }}{% if group.kind and group.task %}
 <span class="soft small">{{ text(group.task) }}</span>{% endif %}
<span class="badge plain">{{ group.failed|thousands }} of {{ group.total|thousands }} failed</span></h3>
<div class="cases">
{% for search in group.searches %}<article class="case">
{% if search.success %}<span class="badge good">✓ {{ search.hits }} of {{ search.found|length }}</span>
{% else %}<span class="badge bad">✗ failed</span>{% endif %}
<h4>{{ text(search|query_text) }}</h4><p class="scores">{{ search.scores }}</p>
<ol class="found">
{% for found in search.found %}{% set listing = listings[found.product_id] %}
<li{% if found.hit %} class="hit"{% endif %}>{{ image(found.product_id, listing.title) }}
<span class="mark">{{ found.rank }} {{ "✓" if found.hit else "✗" }} {{ found.mark }}</span>
<span class="clamp soft">{{ text(listing.title or listing.product_type) }}</span></li>
{% endfor %}
{% if search.sought %}{% set listing = listings[search.sought] %}
<li class="sought">{{ image(search.sought, listing.title) }}<span class="mark">was sought</span>
<span class="clamp soft">{{ text(listing.title or listing.product_type) }}</span></li>{% endif %}
</ol></article>
{% endfor %}</div>{% endfor %}{% endfor %}</section>
<section id="grounding"><h2>Grounding</h2>
{% for system, grounding in groundings %}<p>Where <span class="name">{{ params.systems[system] }}</span>
({{ system }}) looks when it reads a product's type:
{{ grounding.missed|thousands }} of {{ grounding.total|thousands }} points miss the true box.
Misses come first; all are drawn at random.</p>
<p class="soft"><svg class="swatch" viewBox="0 0 46 16" aria-hidden="true"><rect class="true-box" x="3" y="3" width="40"
height="10"/></svg> true box &ensp; {% if grounding.pointings|selectattr("found_box")|list %}<svg class="swatch"
viewBox="0 0 46 16" aria-hidden="true"><rect class="found-box" x="3" y="3" width="40" height="10"/></svg> box found
&ensp; {% endif %}<svg class="swatch" viewBox="0 0 46 16" aria-hidden="true"><path
class="cross" d="M17 8h12M23 2v12"/></svg> point found</p>
<div class="boxes">
{% for p in grounding.pointings %}{% set pic = pictures[p.product_id] %}{% set listing = listings[p.product_id] -%}
<figure><svg viewBox="0 0 {{ pic.width }} {{ pic.height }}" role="img" aria-label="{{ listing.product_type|clip }}">
<image href="{{ pic.uri }}" width="{{ pic.width }}" height="{{ pic.height }}"/>
{% for name, box in [("true", p.box), ("found", p.found_box)] %}{% if box %}{% for layer in ["under", "box"] -%}
<rect class="{{ name }}-{{ layer }}" x="{{ (box[0] * pic.width)|round(1) }}" y="{{ (box[1] * pic.height)|round(1) }}"
width="{{ ((box[2] - box[0]) * pic.width)|round(1) }}" height="{{ ((box[3] - box[1]) * pic.height)|round(1) }}"/>
{%- endfor %}{% endif %}{% endfor %}
{% for layer in ["cross-under", "cross"] %}<path class="{{ layer }}"
d="M{{ (p.x * pic.width - 6)|round(1) }} {{ (p.y * pic.height)|round(1) }}h12m-6 -6v12"/>{% endfor %}</svg>
<figcaption>{% if p.hit %}<span class="badge good">✓ hit</span>{% else %}<span class="badge bad">✗ miss</span>{% endif %}
{{ text(listing.product_type) }}</figcaption></figure>
{% endfor %}</div>{% endfor %}
{% if not groundings %}<p class="empty">Left out: this run has no pointing results, or its catalogue has no true boxes.</p>{% endif %}</section>
<section id="products"><h2>The catalogue</h2>
{% if has_truth %}<p>What the models see, next to what is true. Seller's text is shown as it stands in the catalogue;
<del>struck out</del> is stated and wrong, <ins>green</ins> is what is true.</p>
{% else %}<p>Seller's text is shown as it stands in the catalogue.
<span class="empty">Differences are left out: this catalogue has no truth.</span></p>{% endif %}
{% for product_type, ids in shown.items() %}<h3>{{ text(product_type) }}</h3><div class="products">
{% for product_id in ids %}{% set listing = listings[product_id] %}{% set real = truth.get(product_id) -%}
<article class="product"><div>{{ image(product_id, listing.product_type) }}</div><div>
<h4>{% if listing.title %}{{ text(listing.title) }}{% else %}<span class="empty">(no title)</span>{% endif %}</h4>
{% if real and real.title and real.title != listing.title %}<p><ins>{{ text(real.title) }}</ins></p>{% endif %}
{% if listing.description %}<p class="soft">{{ text(listing.description) }}</p>{% endif %}
<ul>{% for a in listing|attributes(real) %}<li><span>{{ text(a.name) }}:</span>
{% if a.state == "given" %}{{ text(a.stated) }}
{% elif a.state == "missing" %}<span class="empty">not stated</span> <ins>{{ text(a.true) }}</ins>
{% elif a.state == "wrong" %}<del>{{ text(a.stated) }}</del> <ins>{{ text(a.true) }}</ins>
{% else %}{{ text(a.stated) }} <span class="empty">(not in the truth)</span>{% endif %}</li>
{% endfor %}</ul>
{% for act in real|noise_acts %}{% if loop.first %}<p>{% endif %}<span class="badge plain">{{ act|clip }}</span>
{% if loop.last %}</p>{% endif %}{% endfor %}</div></article>
{% endfor %}</div>{% endfor %}</section>
"""  # noqa: E501

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ params.title|clip }}</title><link rel="icon" href="data:,"><style>{{ css }}</style></head>
{% from "macros.html" import text, image, strip, table, chart with context %}
<body><header class="top"><h1>{{ params.title|clip }}</h1>
<p class="lead">{{ lead }}</p>
<dl class="tiles headline">
{% for name, value in headline.items() %}<div><dt>{{ name|metric }}</dt><dd>{{ value|number }}</dd></div>
{% endfor %}</dl>
<nav aria-label="Sections"><a href="#run">What was run</a><a href="#results">Results</a>
{% if curves %}<a href="#curves">Curves</a>{% endif %}<a href="#searches">Searches</a><a href="#grounding">Grounding</a>
<a href="#products">The catalogue</a></nav></header>
<main>{% include "shop.html" %}{% include "results.html" %}{% include "galleries.html" %}
<footer>Made by Vitrine from this run's files alone: no script, no network, the same bytes for the same run.</footer>
</main></body></html>
"""  # noqa: E501

TEMPLATES = {
    "macros.html": MACROS,
    "shop.html": SHOP,
    "results.html": RESULTS,
    "galleries.html": GALLERIES,
    "page.html": PAGE,
}
