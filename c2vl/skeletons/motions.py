"""placeholder"""
CLASS_NAMES = ("a",)
