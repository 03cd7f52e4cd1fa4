"""Stage `weights`: fetches pretrained weights once, into a cache that experiments share.

    python3 -m yolo_operator.weights INSTRUCTIONS.json

Only over https, whatever a server redirects to; resumed where it was cut off; never taken with another checksum than asked for.
A key goes to the server that it is for and nowhere else: no log, no report, no redirect sees it.
"""
