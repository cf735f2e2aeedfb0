"""The page of ``dllm-audio demo`` as a Hugging Face Space, with the model that ships.

A model of yours: ``AudioDiffusionLM.from_pretrained("you/your-model")`` in place of the small one.
"""

from dllm_audio import toy
from dllm_audio.demo.page import appearance, build_page

page = build_page(toy.small_model())

if __name__ == "__main__":
    page.launch(**appearance())
