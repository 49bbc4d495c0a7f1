"""A plugin of omniform to copy: the toy domain `echo` and the token mixer `shift-mixer`."""
