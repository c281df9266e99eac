# Servers that are none, a port each: what a run may meet where it expects PostgreSQL.
use strict;
use warnings;
use IO::Socket::INET;

my $authenticated = "R\0\0\0\x08\0\0\0\0" . "Z\0\0\0\x05I";
my %behaviour = (
    6001 => sub { sleep 600 },                                                     # accepts and never answers
    6002 => sub { },                                                               # closes at once
    6003 => sub { print { $_[0] } "HTTP/1.1 400 Bad Request\r\n\r\n" },            # speaks HTTP
    6004 => sub { print { $_[0] } join "", map { chr rand 256 } 1 .. 4096 },       # garbage
    6005 => sub { request($_[0]); print { $_[0] } "R\0\0\0\x08\0" },               # closes in the middle of a message
    6006 => sub { request($_[0]); print { $_[0] } "R\x20\0\0\0"; print { $_[0] } "x" x (1 << 20) for 1 .. 512; sleep 600 }, # a message of 512 MB
    6007 => sub { request($_[0]); print { $_[0] } $authenticated; request($_[0]) },# closes when it is asked something
    6008 => sub { request($_[0]); print { $_[0] } $authenticated; request($_[0]); print { $_[0] } "\xff" x 4096; sleep 600 },
    6009 => sub { request($_[0]); print { $_[0] } $authenticated; request($_[0]); sleep 600 }, # never answers a question
    6010 => sub { request($_[0]); print { $_[0] } $authenticated; request($_[0]); print { $_[0] } "C\0\0\0\x06X\0Z\0\0\0\x05I"; sleep 600 },
);

sub request { sysread $_[0], my $ignored, 1 << 20 }

$SIG{CHLD} = 'IGNORE';
$SIG{TERM} = sub { exit };
for my $port (sort keys %behaviour) {
    my $listener = IO::Socket::INET->new(LocalPort => $port, Listen => 99, ReuseAddr => 1) or die "$port: $!";
    next if fork;
    while (1) {
        my $client = $listener->accept or next;
        next if fork;
        $client->autoflush(1);
        $behaviour{$port}->($client);
        exit;
    }
}
$| = 1;
print "hostile\n";
sleep 600;
