"""What servers say when they refuse mail: patterns in lower case, in the order in which they are tried.

The first that is found decides, so what sounds like another stands above it. Gaps are bounded, so that no text
makes a search slow. Phrases are of programs and services in wide use, and of everyday words in many languages.
"""

from relay.core.bounce import Bounce, BounceClass, BounceReason

WORDS: tuple[tuple[Bounce, tuple[str, ...]], ...] = (
    (
        Bounce(BounceClass.BLOCK, BounceReason.AUTHENTICATION),
        (
            r"sender (?:address |e-?mail )?(?:rejected|verif\w+|unknown|does ?n[o']t exist)",
            (
                r"(?:verify|validate|verification of) (?:the )?(?:sender|return[- ]path|your "
                r"(?:e-?mail )?address)"
            ),
            r"\b(?:helo|ehlo)\b",
            r"sender (?:denied|refused|not allowed|is invalid|invalid)",
            r"your (?:ip|host|hostname|server|domain|e?-?mail server)\b",
            r"envelope (?:sender|from)|return[- ]path",
            r"sender callback",
            r"(?:unknown|invalid) sender|(?:sender|sending) domain|domain of sender",
            r"mail from .{0,60}(?:rejected|denied)",
            r"fix reverse dns",
            r"(?:unrouteable|unroutable) sender",
        ),
    ),
    (
        Bounce(BounceClass.SOFT, BounceReason.PROTOCOL),
        (
            r"\bin (?:the )?(?:from|to|sender|message) header",
            r"message-id (?:header )?(?:is |was )?(?:missing|invalid)",
            r"(?:missing|invalid) message-id",
        ),
    ),
    (
        Bounce(BounceClass.SOFT, BounceReason.RATE),
        (
            r"gr[ae]y[- ]?list",
            r"try again (?:later|in|after)",
            r"please (?:try|retry) (?:again )?later",
            r"retry later",
            r"temporar(?:y|ily) (?:deferred|rejected|rate|blocked due)",
        ),
    ),
    (
        Bounce(BounceClass.SOFT, BounceReason.MAILBOX_FULL),
        (
            (
                r"(?:over|exceed\w*|out of|above|reached) (?:\w+ ){0,5}(?:quota|storage|disk "
                r"space|mailbox size|allowed size)"
            ),
            r"quota (?:\w+ ){0,3}(?:exceed|full|reached|violation|limit)",
            r"over ?quota",
            r"exceeding (?:its|their|his) quota",
            (
                r"(?:mail ?box|inbox|mail ?folder|mail ?drop|account)(?:'s)? (?:\S+ ){0,3}(?:is "
                r")?(?:too )?full"
            ),
            r"full mailbox",
            r"(?:user|mail ?box|recipient|account) has too many (?:\w+ )?(?:message|mail)",
            r"zu ?viele (?:e-?)?mails",
            r"mail ?box (?:space|size|storage|exceeds)",
            r"mail ?box (?:\S+ ){0,3}limit",
            r"insufficient (?:\w+ ){0,2}(?:disk|storage|system storage|space|quota)",
            r"not enough (?:\w+ ){0,2}(?:space|storage)",
            r"space not enough",
            r"storage (?:limit|quota|allocation)",
            r"no (?:disk |storage )?space (?:left|available)",
            r"(?:postfach|mailbox|konto)\b.{0,40}\bvoll\b",
            r"speicherplatz",
            r"bo[iî]te.{0,40}(?:pleine|satur)",
            r"quota d[ée]pass",
            r"(?:buz[oó]n|casilla|cuenta).{0,40}llen[oa]",
            r"excede.{0,30}(?:cuota|capacidad)",
            r"casella.{0,30}piena",
            r"caixa.{0,30}cheia",
            r"(?:ящик|почтов\w+).{0,40}(?:переполнен|заполнен)",
            r"превы\w+.{0,20}квот",
            r"容量.{0,12}超",
            r"メールボックス.{0,20}(?:一杯|いっぱい|超)",
            r"(?:邮箱|信箱|郵箱).{0,10}(?:满|滿)",
            r"skrzynk\w+.{0,30}(?:pełn|przepełn)",
        ),
    ),
    (
        Bounce(BounceClass.SOFT, BounceReason.TOO_LARGE),
        (
            (
                r"(?:message|mail|e-?mail|size|it)(?:'s| is| was)? (?:\w+ ){0,3}(?:too (?:large|"
                r"big|long)|larger than)"
            ),
            r"(?:message|mail|data)[ -]?size (?:\w+ ){0,3}(?:exceed|limit|too)",
            r"exceed\w* (?:\w+ ){0,5}(?:message|mail)[ -]?size",
            r"exceeds (?:\w+ ){0,4}size limit",
            r"\bsize limit\b",
            r"(?:max|maximum|maximal)\w* (?:message|mail|allowed) size",
            r"too big for",
            r"message (?:\w+ ){0,3}exceeds (?:\w+ ){0,4}(?:limit|maximum|fixed)",
            r"nachricht ist zu gro(?:ß|ss)",
            r"message trop",
        ),
    ),
    (
        Bounce(BounceClass.BLOCK, BounceReason.REPUTATION),
        (
            r"black[ -]?(?:list|hole)",
            r"block[ -]?list",
            r"deny ?list",
            r"\b(?:dns|r|ur|sur|x|s)bl\b",
            r"spamhaus",
            r"spamcop",
            r"sorbs",
            r"barracuda ?(?:central|reputation)",
            r"proofpoint",
            r"cloudmark",
            r"senderbase",
            r"senderscore",
            r"trustedsource",
            r"invaluement",
            r"uceprotect",
            r"surbl",
            r"uribl",
            r"mailspike",
            r"abusix",
            r"reputation",
            (
                r"(?:ip|address|host|server|network|domain)\b.{0,40}\b(?:is|was|has been|"
                r"are) (?:\w+ )?(?:block|ban|listed|refused)"
            ),
            r"blocked (?:by|using|for|because of|due to)(?!.{0,30}(?:spam|virus|content))",
            r"(?<!not )listed (?:in|on|at|by) ",
            r"you are (?:not allowed|blocked|banned)",
            r"banned send",
            r"(?:ip|client|host|connecting)\b.{0,40}\bblocked",
            r"part of their network",
            r"bad dns reputation",
            r"dynamic ip",
            r"dynamic(?:ally)? (?:assigned|address)",
            r"client host .{0,80}(?:rejected|blocked)",
            r"poor reputation",
            r"too many spam",
            r"known spammer",
            r"open (?:proxy|relay)\b",
        ),
    ),
    (
        Bounce(BounceClass.BLOCK, BounceReason.AUTHENTICATION),
        (
            r"\bspf\b",
            r"\bdkim\b",
            r"\bdmarc\b",
            r"\barc\b.{0,10}fail",
            r"unauthenticated (?:e-?mail|mail)",
            r"not authenticated",
            r"authentication (?:check|required|fail)",
            r"reverse (?:dns|lookup|hostname|address)",
            r"\bptr\b",
            r"\brdns\b",
            r"no ptr",
            r"helo (?:command )?rejected",
            r"forged",
            r"spoof",
            r"must (?:be authenticated|issue a starttls|authenticate)",
            r"not permitted to send",
            r"send\w* as",
            r"on behalf of",
        ),
    ),
    (
        Bounce(BounceClass.BLOCK, BounceReason.SPAM),
        (
            r"\bspam\b",
            r"spam-",
            r"spam\w* (?:content|message|score|mail|detected|filter|rejected)",
            r"spam(?:assassin|my)",
            r"antispam",
            r"anti-spam",
            r"looks like spam",
            r"junk[ -]?(?:mail|e-?mail|filter)",
            r"unsolicited",
            r"\bube\b",
            r"\buce\b",
            r"bulk e?-?mail",
            r"bulk mail filter",
            r"phish",
            r"virus(?:es)? (?:was |were |is )?(?:found|detected|infect|in )",
            r"(?:infected|contain\w*|carr\w+|has|a) (?:\w+ ){0,2}virus",
            r"malware",
            r"trojan",
            r"infected",
            (
                r"(?:content|message|mail|body|header|subject|attachment)\b.{0,30}\b(?:reject\w* "
                r"(?:for|due|because|as)|is not acceptable|contains? (?:a )?(?:banned|forbidden|"
                r"prohibited|unwanted|dangerous))"
            ),
            r"prohibited (?:attachment|content|file)",
            r"banned (?:file|attachment|content)",
            r"file type",
            r"attachments? (?:or|not|type|is not|are not)",
            (
                r"(?:rejected|refused|blocked|identified|classified|considered|marked|tagged|"
                r"flagged) as (?:\w+ )?(?:spam|junk|bulk)"
            ),
            r"content (?:filter|policy|restrict|reject)",
            r"message (?:content )?(?:filtered|refused|blocked)",
            r"(?:mail|message) (?:was |has been )?blocked",
            r"rejected by (?:\w+ ){0,4}(?:filter|content|rule|spam|virus)",
            r"high[- ]probability",
            r"dangerous",
            r"suspicious",
            r"advert",
            r"bayes",
            r"mail content denied",
            r"\[hits",
            r"scored? (?:of )?\d",
            r"inappropriate",
            r"objectionable",
        ),
    ),
    (
        Bounce(BounceClass.BLOCK, BounceReason.RATE),
        (
            r"too many (?:\w+ ){0,3}(?:connection|message|mail|recipient|e-?mail|session|sent|error)",
            r"rate[ -]?limit",
            r"throttl",
            r"(?:sending|connection|message|hourly|daily) (?:rate|limit)",
            r"unusual(?:ly)? (?:rate|high)",
            r"excessive",
            r"too (?:fast|much mail|quickly)",
            r"exceeded (?:\w+ ){0,3}(?:rate|connection|number of)",
            r"mail flood",
        ),
    ),
    (
        Bounce(BounceClass.BLOCK, BounceReason.RELAYING),
        (
            (
                r"relay(?:ing)? (?:\w+ ){0,3}(?:denied|prohibit|not (?:permitted|allowed)|"
                r"reject|is not|access|attempt|this)"
            ),
            r"as a relay\b",
            r"unable to relay",
            r"cannot relay",
            r"can't relay",
            r"not (?:a |an )?(?:open )?relay",
            r"no relay",
            r"(?:we )?do(?:n't| not) relay",
            r"relay not permitted",
            r"refus\w+ to relay",
            r"not (?:allowed|permitted) to relay",
            r"rcpthosts",
            r"won't relay",
        ),
    ),
    (
        Bounce(BounceClass.HARD, BounceReason.INACTIVE),
        (
            (
                r"(?:account|mail ?box|user|address|recipient|e-?mail)\b(?:\S* \S+){0,3} "
                r"(?:is |has been |was |been |currently |temporarily )*(?:disabled|deactivated|"
                r"inactive|suspended|discontinued|terminated|closed|expired|not active|no "
                r"longer (?:active|in use|in service|available|valid|accept)|locked|deleted|"
                r"de-activated|blocked by admin)"
            ),
            (
                r"(?:disabled|inactive|deactivated|suspended|closed|expired) (?:or \w+ )?(?:account|"
                r"mail ?box|user|recipient|e-?mail)"
            ),
            r"no longer (?:valid|exists?|in use)",
            (
                r"no longer (?:\w+ ){0,3}(?:employed|work|with (?:us|the|this)|at this|an? "
                r"(?:employee|valid|user))"
            ),
            r"has left (?:the|this|our)",
            r"has moved",
            r"account (?:that you tried to reach )?(?:is|has been) disabled",
            r"not been collected after",
            r"retired",
        ),
    ),
    (
        Bounce(BounceClass.HARD, BounceReason.NO_SUCH_USER),
        (
            (
                r"(?:user|mail ?box|recipient|address|account|addressee|e-?mail(?: address)?|"
                r"destination|username|alias|rcpt|local part)\b(?:\S* \S+){0,3}? (?:is |was "
                r"|were |are |could |can |has |does |did |do )*(?:unknown|not (?:be )?(?:found|"
                r"known|exist|valid|listed|recogni[sz]ed|match|present|local)|invalid|(?:n't|"
                r"not) (?:\w+ )?(?:exist|have)|not (?:an? )?active (?!$)|doesn't exist|no "
                r"such|non-?exist\w*|unrecogni[sz]ed|undefined)"
            ),
            (
                r"(?:unknown|invalid|bad|no such|non-?exist\w*|unrecogni[sz]ed|illegal|nonexistent|"
                r"inexistent) (?:local |destination |virtual |final )?(?:\S+ )?(?:user|mail "
                r"?box|recipient|address|account|addressee|e-?mail|rcpt|alias|person|local|"
                r"destination|email)"
            ),
            (
                r"no (?:mail ?box|user|account|recipient|such|valid|matches)\b.{0,24}(?:here|"
                r"by that|by this|found|name|exist|recipient|person|address|mailbox|user|"
                r"account|for this|nameserver)"
            ),
            r"there is no (?:user|such|mailbox|one|account)",
            (
                r"not (?:a |an )?(?:valid|known|registered|existing|hosted) (?:\w+ )?(?:user|"
                r"mail ?box|recipient|address|account|e-?mail|name)"
            ),
            r"(?:not|n't) (?:our|a) (?:\w+ )?(?:customer|user|subscriber|account)",
            r"user ?unknown",
            r"unknown ?user",
            r"resolver\.adr\.\w*notfound",
            r"recipnotfound",
            r"recipient ?notfound",
            r"not listed in (?:\w+ ){0,3}directory",
            r"address not found",
            r"cannot be found",
            r"not (?:a|an) \S+ (?:e-?mail )?users?\b",
            r"does(?:n't| not) have an? (?:\S+ )?(?:\S+ )?account",
            r"email account that you tried to reach does not",
            r"this address (?:no longer|does not)",
            r"5\.4\.1 recipient address rejected: access denied",
            r"unroutable address",
            r"unrouteable address",
            r"no mailbox",
            r"badrcptto",
            r"recipient rejected",
            r"not accepting mail for",
            r"unable to find (?:the )?recipient",
            r"final e-?mail delivery point",
            r"did not exactly match",
            (
                r"(?:empf[äa]nger|benutzer|adresse|postfach)\b.{0,40}\b(?:unbekannt|existiert "
                r"nicht|nicht (?:gefunden|vorhanden|bekannt))"
            ),
            r"unbekannter? (?:empf|benutz|adress)",
            (
                r"(?:adresse|destinataire|utilisateur|bo[iî]te)\b.{0,60}(?:n'existe pas|inconnue?|"
                r"introuvable|non recens|invalide)"
            ),
            (
                r"(?:usuario|destinatario|direcci[oó]n|cuenta|buz[oó]n)\b.{0,50}(?:no existe|"
                r"desconocid|no (?:se )?(?:ha )?(?:encontr|v[áa]lid)|inexistente)"
            ),
            (
                r"(?:utente|indirizzo|destinatario|casella)\b.{0,40}(?:sconosciut|inesistente|"
                r"non esiste|non valid)"
            ),
            (
                r"(?:usu[áa]rio|destinat[áa]rio|endere[çc]o|conta)\b.{0,40}(?:n[ãa]o existe|"
                r"desconhecid|inexistente|inv[áa]lid)"
            ),
            r"(?:gebruiker|adres|ontvanger)\b.{0,40}(?:onbekend|bestaat niet)",
            r"(?:użytkownik|uzytkownik|adres|konto|skrzynk)\w*.{0,40}(?:nie istnieje|nieznan)",
            (
                r"(?:пользовател|адресат|получател|ящик)\w*.{0,50}(?:не (?:существует|найден|"
                r"зарегистр)|неизвест)"
            ),
            r"(?:несуществующ|неизвестн)\w+.{0,20}(?:пользов|адрес|получ)",
            r"宛先.{0,20}(?:見つか|存在し|不明)",
            r"(?:ユーザ|アドレス|メールアドレス).{0,24}(?:存在し|見つか|ありません|おりません)",
            r"(?:用户|用戶|收件人|邮箱|地址).{0,12}(?:不存在|无效|未知)",
            r"(?:사용자|수신자|주소).{0,20}(?:없|존재하지)",
        ),
    ),
    (
        Bounce(BounceClass.HARD, BounceReason.NO_SUCH_DOMAIN),
        (
            (
                r"(?:domain|host|hostname)\b(?:\S* \S+){0,3}? (?:is |was |could |can |does "
                r")*(?:unknown|not (?:be )?(?:found|exist|known)|doesn't exist|non-?exist\w*|"
                r"invalid)(?! sender)"
            ),
            (
                r"(?:unknown|invalid|bad|no such|non-?exist\w*|illegal) (?:mail )?(?:host|"
                r"domain|destination system|system address)"
            ),
            r"nxdomain",
            r"null ?mx",
            r"host or domain name not found",
            r"name or service not known",
            r"domain does(?:n't| not) (?:exist|accept)",
            r"unrouteable mail domain",
            r"unroutable mail domain",
            r"all relevant mx records point to non-existent hosts",
            r"does not accept (?:e-?)?mail \(nullmx",
            r"couldn't find any host",
            r"no mail ?(?:server|host)s? (?:for|found)",
            r"domain (?:isn't|is not) in my list",
            r"domain .{0,60}(?:no mx|has no (?:mx|mail))",
            r"name service error.{0,80}not found",
            r"malformed or unexpected name server reply",
        ),
    ),
    (
        Bounce(BounceClass.BLOCK, BounceReason.POLICY),
        (
            r"polic(?:y|ies)",
            r"access denied",
            r"permission denied",
            r"not (?:authori[sz]ed|permitted|allowed|accept\w* (?:mail|e-?mail|messages?) from)",
            r"administrative(?:ly)? (?:prohibit|block|reject)",
            r"prohibited",
            r"transaction (?:failed|rejected)",
            r"refused by",
            r"security (?:reason|polic|restrict)",
            r"rejected (?:for|due to)",
            r"(?:you|sender|message) (?:is|are|was|has been)? ?(?:block|reject|refus)",
            r"does ?n[o']t (?:like|want|accept)",
            r"whitelist",
            r"white list",
            r"restricted",
            r"only accepts",
            r"mail refused",
            r"service (?:refuse|denied)",
            r"not in (?:my|our|the) (?:list|white)",
            r"approved senders",
            r"denied by",
        ),
    ),
    (
        Bounce(BounceClass.SOFT, BounceReason.LOOP),
        (
            r"loop(?:s|ing|ed)?\b",
            r"too many hops",
            r"hop count",
            r"hopcount",
            r"routing loop",
            r"mail for .{0,60} loops back",
        ),
    ),
    (
        Bounce(BounceClass.SOFT, BounceReason.EXPIRED),
        (
            (
                r"(?:queue|retry|delivery|message|mail)\b.{0,30}\b(?:too long|expired|timed? "
                r"?out|timeout exceeded)"
            ),
            r"expired",
            r"has been failing",
            r"in the queue",
            r"give up",
            r"gave up",
            r"giving up",
            r"maximum (?:delivery )?attempts",
            r"exceeded max\w* .{0,20}attempt",
            r"failed \d+ attempts",
            r"undelivered for",
            r"could not be delivered (?:for|within)",
            r"retry time",
        ),
    ),
    (
        Bounce(BounceClass.SOFT, BounceReason.UNREACHABLE),
        (
            r"connect(?:ion)? .{0,80}(?:refused|timed out|reset|failed|lost|dropped|time-?out)",
            r"can(?:'t|not) connect",
            r"unable to connect",
            r"no route",
            r"network (?:is )?(?:unreachable|error|problem)",
            r"host (?:is )?(?:unreachable|down|not responding)",
            r"timed out",
            r"time-?out",
            r"wasn't able to establish",
            r"(?:could not|cannot|can't|unable to) (?:be )?(?:reach|contact|resolve|find|look ?up)",
            r"server unavailable",
            r"service (?:not available|(?:currently )?unavailable)",
            r"unavailable or busy",
            r"dns (?:error|fail|lookup)",
            r"name ?server",
            r"lost connection",
            r"no answer",
            r"bad connection",
            r"all hosts",
        ),
    ),
    (
        Bounce(BounceClass.SOFT, BounceReason.PROTOCOL),
        (
            r"syntax error",
            r"protocol",
            r"command (?:not|unrecogni[sz]ed|unknown|out of)",
            r"bad sequence",
            r"lone (?:cr|lf)",
            r"bare lf",
            r"8-?bit",
            r"smtputf8",
            r"not rfc",
            r"rfc ?(?:2|5)\d{3}",
            r"malformed",
            r"missing (?:\w+ )?header",
            r"line too long",
            r"conversion",
        ),
    ),
)
