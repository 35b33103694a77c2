"""Questions, each with its measurement, tables, figures and claims side by side."""
