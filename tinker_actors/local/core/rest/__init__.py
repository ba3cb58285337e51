"""REST: what is listed, looked up and changed besides training and sampling."""
