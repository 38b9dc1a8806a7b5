"""``indextrust drill N``: a compromise rehearsed, from the theft to the last client's convergence.

    command        the click command: which drill, where it plays
    play           the acts of each drill, and how one is played
    stage          what lies where: an index of five keyholders, its server, those who use it
    followers      the first act, an index at work; and all converge
    every_role     the last act, the thief's keys in every role
    online_key     drill 1: the online key is stolen
    root_key       drill 2: one root key of five is stolen
    root_keys      drill 3: a threshold of root keys is stolen
    artifacts      drill 4: the stored files are tampered with
    database       drill 5: the state database is written by somebody else
    backup         drill 6: the server comes back from an old backup

Each is a page in docs/drills. The attackers are `indextrust.testing`'s, python-tuf and raw bytes,
or raw SQL; acts call the library as an operator would; installations go through the real command
in a process of its own, with real pip, and wheels made on the spot, so no network is needed.
"""
