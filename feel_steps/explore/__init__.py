"""What a person does with a finished run: predict, name, export, inspect."""
