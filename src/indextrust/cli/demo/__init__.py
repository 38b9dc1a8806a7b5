"""``indextrust demo``: the whole story on real packages, in nine acts, with nothing faked.

    command    the click command: where it plays, how it is told
    story      the acts in their order, and the verdict
    opening    acts 1 to 3: genesis, publication, installation
    attacks    acts 4 to 6: a CDN that alters, a CDN that replays, a thief of the online key
    recovery   acts 7 and 8: what changed, new keys, who converges how
    stage      what lies where; the repository, its keys, its server
    market     real distributions, fetched by pip by their hashes

How acts are played and told, and those who install, are `indextrust.cli.stagecraft`'s.

The attackers are `indextrust.testing`'s: python-tuf and raw bytes. Acts call the library as an
operator would; installations go through the real command in a process of its own, with real pip
and real uv.
"""
