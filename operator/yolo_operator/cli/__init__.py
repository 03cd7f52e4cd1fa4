"""`kubectl yolo`: a person's view of experiments. Reads raw objects, so that an older or newer operator's are shown as well."""
