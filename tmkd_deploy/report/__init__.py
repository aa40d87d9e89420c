"""A run as HTML, Markdown, JUnit and JSON."""
