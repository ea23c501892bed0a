"""The built-in demo: rendered videos of figures that perform actions."""
