"""The stub server: answers the wire and makes nothing up but the answers' delay.

One thread, one epoll, answers whose bytes are prepared beforehand and a parser that knows just what clients of a
benchmark send, so that the client is what is measured. It still counts and checks: how many samples of the right size
came in, on how many connections, from whom, and in which form results were asked for.

The service that costs are measured against (`service`) has its answers prepared. The other one (`limited`) has a
capacity, trains, and can misbehave, for what is measured of the client's conduct.
"""
