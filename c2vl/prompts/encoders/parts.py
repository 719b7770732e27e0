"""Our text and image encoders, by their names."""

from c2vl.prompts.encoders import DEFAULT
from c2vl.registry import register

_OURS = "c2vl.prompts.encoders."
register("text_encoder", DEFAULT, _OURS + "text:load", help="MiniLM, offline")
register("text_encoder", "transformers", _OURS + "text:load", help="a folder or hub name")
register("image_encoder", "transformers", _OURS + "image:load", help="a CLIP's or SigLIP's tower")
