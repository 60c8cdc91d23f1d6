"""The HTML of the page's pictures: searches, gates, grounding, listings, the catalogue."""

from __future__ import annotations

SEARCHES = """
{% if searches %}<section id="searches"><h2>Searches</h2>
<p>Queries of the test split with the first {{ params.retrieval.top }} products found. Failures come first; all are drawn at random, none is chosen.
A green frame with ✓ marks a product judged relevant, ✗ one that is not; a dashed frame shows what should have been found.</p>
{% for gallery in searches %}<details open id="searches-{{ gallery.system }}">
<summary><b>{{ gallery.system|system }}</b> <span class="soft small">{% for group in gallery.groups %}
{{- group.kind or group.task }}: {{ group.failed|thousands }} of {{ group.total|thousands }} failed
{%- if not loop.last %}; {% endif %}{% endfor %}</span></summary>
<p class="soft">What <span class="name">{{ gallery.variant }}</span> ({{ gallery.system|system }}) found. {{ gallery.success|failure }}</p>
{% if gallery.disagreeing %}<p><span class="badge bad">note</span> For {{ gallery.disagreeing }} of the searches shown,
the marks (grade {{ params.retrieval.relevant_from }} and up, first {{ params.retrieval.top }}) and
{{ gallery.success.metric|metric }} tell different things: report.retrieval does not fit how the evaluation counts.</p>{% endif %}
{% for group in gallery.groups %}<h3>{% if (group.kind or group.task) in glossary.KINDS %}{{ glossary.KINDS[group.kind or group.task] }}
{%- else %}{{ text(group.kind or group.task) }}{% if group.kind and group.task %} <span class="soft small">{{ text(group.task) }}</span>{% endif %}{% endif %}
<span class="badge plain">{{ group.failed|thousands }} of {{ group.total|thousands }} failed</span></h3>
<div class="cases">
{% for search in group.searches %}<article class="case"><div>
<h4>{{ text(search|query_text) }}</h4>
{% if search.success %}<span class="badge good">✓ {{ search.hits }} of {{ search.found|length }}</span>
{% else %}<span class="badge bad">✗ failed</span>{% endif %}<p class="scores">{{ search.scores }}</p></div>
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
{% endfor %}</div>{% endfor %}</details>{% endfor %}</section>{% endif %}
"""  # noqa: E501

EVIDENCE = """
{% macro bar(b) -%}
<tr><th scope="row">{{ text(b.name or "other") }}<small>n={{ b.count|thousands }}</small></th><td class="words">
<svg class="bar" viewBox="0 0 1000 60" preserveAspectRatio="none" role="img" aria-label="{% for name, start, length in b.parts -%}
{{ name }} {{ length|percent }}{{ ", " if not loop.last }}{% endfor %}">
{% for name, start, length in b.parts %}<rect class="g{{ loop.index0 }}" x="{{ (start * 1000)|round(1) }}" y="0"
width="{{ (length * 1000)|round(1) }}" height="60"/>{% endfor %}</svg></td>
{% for name, start, length in b.parts %}<td>{{ length|percent }}</td>{% endfor %}</tr>
{%- endmacro %}
{% if gates_plot %}<section id="gates"><h2>Gate weights</h2>
<p>How much <span class="name">{{ gates_plot.variant }}</span> ({{ gates_plot.system }}) trusts each of its experts: mean gate
weights of the products that its searches found. The gate sees the product alone; a kind of query shows through the products it finds. Text and image read one of both; cross reads their
product, so what the two say together. {{ gates_plot.ranges }}</p>
{% for title, bars in [("By category, each product once", gates_plot.categories), ("By kind of query, as often as found", gates_plot.kinds)] %}
<div class="scroll"><table class="gates"><caption>{{ title }}</caption><thead><tr><th scope="col"></th><th scope="col" class="wide"></th>
{% for name, start, length in bars[0].parts %}<th scope="col"><svg class="spot" viewBox="0 0 10 10" aria-hidden="true"><rect
class="g{{ loop.index0 }}" width="10" height="10" rx="2"/></svg> {{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for b in bars %}{{ bar(b) }}
{% endfor %}</tbody></table></div>{% endfor %}</section>{% endif %}
<section id="grounding"><h2>Grounding</h2>
{% for grounding in groundings %}
<p>{% if groundings|length > 1 %}<b>{{ grounding.folder|system }}.</b> {% endif %}Where the
<span class="name">{{ grounding.variant }}</span> looks when it reads a product's type.
{% if not grounding.judged %}This catalogue has no true boxes, so nothing here is judged; of {{ grounding.total|thousands }} pictures
{{ grounding.fallbacks|thousands }} were kept whole because no box was found.
{% elif grounding.boxed %}{{ grounding.missed|thousands }} of {{ grounding.total|thousands }} boxes overlap the true one by an IoU below
{{ params.grounding.minimum_iou }}; for {{ grounding.fallbacks|thousands }} no box was found and the whole picture was kept. (IoU: common area / joint area.)
{% else %}{{ grounding.missed|thousands }} of {{ grounding.total|thousands }} points miss the true box.{% endif %}
Failures come first; all are drawn at random.</p>
<p class="soft">{% if grounding.judged %}<svg class="swatch" viewBox="0 0 46 16" aria-hidden="true"><rect class="true-box" x="3" y="3" width="40"
height="10"/></svg> true box &ensp; {% endif %}{% if grounding.pointings|selectattr("found_box")|list %}<svg class="swatch"
viewBox="0 0 46 16" aria-hidden="true"><rect class="found-box" x="3" y="3" width="40" height="10"/></svg> box found
&ensp; {% endif %}<svg class="swatch" viewBox="0 0 46 16" aria-hidden="true"><path
class="cross" d="M17 8h12M23 2v12"/></svg> point found</p>
{% for title, pointings in grounding.parts %}<h3>{{ title }}</h3><div class="boxes">
{% for p in pointings %}{% set pic = pictures[p.product_id] %}{% set listing = listings[p.product_id] -%}
<figure><svg viewBox="0 0 {{ pic.width }} {{ pic.height }}" role="img" aria-label="{{ listing.product_type|clip }}">
<image href="{{ pic.uri }}" width="{{ pic.width }}" height="{{ pic.height }}"/>
{% for name, box in [("true", p.box), ("found", p.found_box)] %}{% if box %}{% for layer in ["under", "box"] -%}
<rect class="{{ name }}-{{ layer }}" x="{{ (box[0] * pic.width)|round(1) }}" y="{{ (box[1] * pic.height)|round(1) }}"
width="{{ ((box[2] - box[0]) * pic.width)|round(1) }}" height="{{ ((box[3] - box[1]) * pic.height)|round(1) }}"/>
{%- endfor %}{% endif %}{% endfor %}
{% if p.x is not none %}{% for layer in ["cross-under", "cross"] %}<path class="{{ layer }}"
d="M{{ (p.x * pic.width - 6)|round(1) }} {{ (p.y * pic.height)|round(1) }}h12m-6 -6v12"/>{% endfor %}{% endif %}</svg>
<figcaption><span class="badge {{ "plain" if p.fallback is not none or not p.box else "bad" if p.missed else "good" }}">{{ p.verdict }}</span>
{% if p.iou is not none %}IoU {{ p.iou|two_digits }}<br>{% endif %}{{ text(listing.product_type) }}
{% if p.fallback %}<small>{{ text(p.fallback) }}</small>{% endif %}</figcaption></figure>
{% endfor %}</div>{% endfor %}{% endfor %}
{% if not groundings %}<p class="empty">Left out: this run has no pointing results, or its catalogue has no true boxes.</p>{% endif %}</section>
{% if generated %}<section id="listings"><h2>Generated listings</h2>
<p>What <span class="name">{{ generated.variant }}</span> writes of a photo: <b>raw</b>, as it likes, and <b>constrained</b>, where a grammar
allows only what the category's schema does. Beside them what the seller wrote, what refinement made of that, and what is true. Of
{{ generated.total|thousands }} products, {{ generated.failed|thousands }} got a constrained listing that states something wrong, or one that could
not be read. Those come first; all are drawn at random.</p>
<p class="soft"><del>Struck out</del> is stated and wrong, <ins>green</ins> is right, – is not stated; a percentage is how sure the model was.
Titles are not judged here.</p>
<div class="writings">
{% for case in generated.cases %}<article class="case writing"><div class="photo">{{ image(case.product_id, case.category) }}
{% if case.failed %}<span class="badge bad">✗ {{ case.summary }}</span>{% else %}<span class="badge good">✓ {{ case.summary }}</span>{% endif %}
<span class="soft small">{{ text(case.category) }}</span></div>
<div class="scroll"><table><thead><tr><th scope="col"></th>{% for v in case.versions %}<th scope="col">{{ v.name }}</th>{% endfor %}
{% if case.truth %}<th scope="col">truth</th>{% endif %}</tr></thead><tbody>
<tr class="title"><th scope="row">title</th>{% for v in case.versions %}<td>{% if v.problem %}<span class="empty">{{ text(v.problem) }}</span>
{% elif v.title %}{{ text(v.title) }}{% else %}<span class="soft">–</span>{% endif %}</td>{% endfor %}
{% if case.truth %}<td>{{ text(case.truth.title) }}</td>{% endif %}</tr>
{% for name, cells, actual in case.rows %}<tr><th scope="row">{{ text(name|plain) }}</th>
{% for c in cells %}<td>{% if c.state == "absent" %}<span class="soft">–</span>{% elif c.state == "right" %}<ins>{{ text(c.text) }}</ins>
{%- elif c.state == "wrong" %}<del>{{ text(c.text) }}</del>{% else %}{{ text(c.text) }}{% endif %}
{% if c.confidence is not none %} <span class="soft small">{{ c.confidence|percent }}</span>{% endif %}</td>{% endfor %}
{% if case.truth %}<td>{% if actual %}{{ text(actual) }}{% else %}<span class="soft">–</span>{% endif %}</td>{% endif %}</tr>
{% endfor %}</tbody></table></div></article>
{% endfor %}</div></section>{% endif %}
"""  # noqa: E501

PRODUCTS = """
<section id="products"><h2>The catalogue</h2>
{% if has_truth %}<p>What the models learn from, next to what is true: the seller's title, description and attributes as they stand in the catalogue.
<del>Struck out</del> is stated and wrong, <ins>green</ins> is what is true. Grey tags name what was done to a listing, and where. The largest product
types, products drawn at random.</p>
{% else %}<p>Seller's text is shown as it stands in the catalogue.
<span class="empty">Differences are left out: this catalogue has no truth.</span></p>{% endif %}
{% for product_type, ids in shown.items() %}<h3>{{ text(product_type) }}</h3><div class="products">
{% for product_id in ids %}{% set listing = listings[product_id] %}{% set real = truth.get(product_id) -%}
<article class="product"><div>{{ image(product_id, listing.product_type) }}</div><div>
<h4>{% if listing.title %}{{ text(listing.title) }}{% else %}<span class="empty">(no title)</span>{% endif %}</h4>
{% if real and real.title and real.title != listing.title %}<p><ins>{{ text(real.title) }}</ins></p>{% endif %}
{% if listing.description %}<p class="soft">{{ text(listing.description) }}</p>{% endif %}
<ul>{% for a in listing|attributes(real) %}<li><span>{{ text(a.name|plain) }}:</span>
{% if a.state == "given" %}{{ text(a.stated) }}
{% elif a.state == "missing" %}<span class="empty">not stated</span> <ins>{{ text(a.true) }}</ins>
{% elif a.state == "wrong" %}<del>{{ text(a.stated) }}</del> <ins>{{ text(a.true) }}</ins>
{% else %}{{ text(a.stated) }} <span class="empty">(not in the truth)</span>{% endif %}</li>
{% endfor %}</ul>
{% for act in real|noise_acts %}{% if loop.first %}<p class="acts">{% endif %}<span class="badge plain">{{ act|clip }}</span>
{% if loop.last %}</p>{% endif %}{% endfor %}</div></article>
{% endfor %}</div>{% endfor %}</section>
"""  # noqa: E501
