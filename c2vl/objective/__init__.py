"""The C²VL objective: softened targets, their schedule, and the loss over three edges."""
