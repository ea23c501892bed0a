"""What only the studies need: their settings, their programs and their page. ``studies/Snakefile`` runs them."""
