<?php
// Copyright 2026 the caddy-wechat authors
// SPDX-License-Identifier: Apache-2.0

// An app behind caddy-wechat: it greets people from the identity headers.
// Run it with `php -S 127.0.0.1:3000 examples/upstream/php/index.php`: on the
// loopback interface only, because whoever reaches this port past the gateway
// can claim to be anybody.

declare(strict_types=1);

$id = $_SERVER['HTTP_X_USER_ID'] ?? ''; // the key of a person: stable, unique
// rawurldecode, not urldecode: a "+" in a name is a plus sign.
$name = rawurldecode($_SERVER['HTTP_X_USER_NAME'] ?? '');
if ($name === '') {
    $name = $id !== '' ? $id : 'stranger';
}

header('Content-Type: text/html; charset=utf-8');
printf("<p>Hello, %s (id %s).</p>\n", htmlspecialchars($name, ENT_QUOTES), htmlspecialchars($id, ENT_QUOTES));
