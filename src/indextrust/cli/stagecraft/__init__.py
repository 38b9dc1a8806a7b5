"""What `indextrust demo` and `indextrust drill` share: acts, people, a folder to play in.

acts     acts played in their order, told, and summed up
people   those who install: their environments, and `indextrust run` in a process of its own
folder   an empty folder to play in, removed in the end or kept
"""
