"""What a machine needs to be a director or a real server, and what it lacks.

`facts` reads, `checks` judges, `model` is what passes between them. Imports
`host`, `ipvs` and `lib`. It changes nothing: findings carry the command that would.
"""
