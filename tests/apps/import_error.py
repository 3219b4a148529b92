"""Cannot be imported."""

raise RuntimeError("this module breaks while it is imported")
