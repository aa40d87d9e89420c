"""TMKD: views, both teachers, fusion, losses, the student."""
