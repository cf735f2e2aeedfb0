"""A page in the browser: a clip, a question, and the answer appearing pass by pass.

``hearing`` reads the clip, ``strategies`` names ways to decode, ``watching`` decodes and says what
stands there after every pass, ``rendering`` makes HTML of it, ``comparing`` does all that for a
visitor; none of these needs gradio. ``page`` lays the page out, ``server`` serves it.
"""

import os

# Before gradio is imported: it reports nothing to anybody.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
