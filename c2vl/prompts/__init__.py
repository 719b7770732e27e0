"""The vision-language side: captions from motion, frozen text encoders, cached concept features."""
