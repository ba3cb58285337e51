"""Net: sockets and HTTP that know nothing of Tinker. Connections are opened beside the lanes and used on them."""
