"""What training minimises: the C²VL contrast with its softening schedules, and a reference."""
