"""What TAO is: the experiment spec as text, and command lines by stage and dialect. Pure."""
