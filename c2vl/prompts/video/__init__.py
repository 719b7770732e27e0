"""Prompts from RGB video: frames, person crops, captions by large multimodal models."""
