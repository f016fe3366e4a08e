"""Reference solutions that anybody can prove again."""
