# SPDX-License-Identifier: ISC
"""conch.py PORT HOST-KEY: the echo server of Twisted Conch's tutorial, for bench.sh.

User demo with the password in $PASSWORD; a pty and a shell are granted, and each
piece of data is answered by one line. Says "ready" when it listens.
"""
import os
import sys

from twisted.conch import avatar, interfaces
from twisted.conch.ssh import factory, keys, session
from twisted.cred import checkers, portal
from twisted.internet import protocol, reactor
from twisted.python import components
from zope.interface import implementer


class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(b"echo: " + repr(data)[1:].encode() + b"\r\n")


class User(avatar.ConchUser):
    def __init__(self):
        super().__init__()
        self.channelLookup[b"session"] = session.SSHSession


@implementer(interfaces.ISession)
class Session:
    def __init__(self, user):
        pass

    def getPty(self, term, size, modes):
        pass

    def openShell(self, transport):
        echo = Echo()
        echo.makeConnection(transport)
        transport.makeConnection(session.wrapProtocol(echo))

    def eofReceived(self):
        pass

    def closed(self):
        pass


@implementer(portal.IRealm)
class Realm:
    def requestAvatar(self, name, mind, *faces):
        return faces[0], User(), lambda: None


components.registerAdapter(Session, User, interfaces.ISession)
users = checkers.InMemoryUsernamePasswordDatabaseDontUse()
users.addUser(b"demo", os.environb[b"PASSWORD"])
server = factory.SSHFactory()
key = keys.Key.fromFile(sys.argv[2])
server.publicKeys = {key.sshType(): key.public()}
server.privateKeys = {key.sshType(): key}
server.portal = portal.Portal(Realm(), [users])
server.getPrimes = lambda: None
reactor.listenTCP(int(sys.argv[1]), server)
print("ready", flush=True)
reactor.run()
