"""Phrases by which bounces, automatic answers and their like are told apart: patterns, in any case of letters."""

#: senders of bounces
FROM_SERVER = (
    r"mailer-?daemon",
    r"postmaster",
    r"mail[ _-]?(?:delivery|admin|system|router|server)",
    r"mdaemon",
    r"delivery (?:sub)?system",
    r"(?:system|mail)[ -]administrator",
    r"majordomo",
    r"smtp",
    r"mail ?er",
    r"daemon",
    r"exchange",
    r"symantec",
    r"antivirus",
    r"gateway",
    r"no-?reply@",
    r"ndr@",
    r"<>",
)

#: what bounces say of themselves
FAILED = (
    r"undeliver",
    r"(?:mail|delivery) warning",
    r"not yet been delivered",
    r"not (?:be )?(?:deliver|sent)",
    r"un(?:able|successful) (?:to )?deliver",
    r"returned (?:mail|e-?mail|to sender)",
    (
        r"(?:mail|message|delivery|e-?mail)(?: delivery| status| system)?[ :-]+(?:fail|"
        r"error|problem|notification|failure|status|report|was not|returned|bounce)"
    ),
    r"failure (?:notice|delivery|notification)",
    r"failed (?:mail|recipient|delivery|to deliver)",
    r"mail failed",
    r"bounced? (?:mail|message)",
    r"non-?delivery",
    r"could ?n[o']t (?:be )?deliver",
    r"(?:did not|not) reach",
    r"permanent (?:fatal )?error",
    r"user unknown",
    r"no such user",
    r"processing error",
    r"unzustellbar",
    r"nicht zugestellt",
    r"nachricht .{0,40}nicht",
    r"non remis",
    r"pas pu [eê]tre",
    r"n'a pas [eé]t[eé]",
    r"[eé]chec",
    r"impossible de remettre",
    r"no (?:se )?(?:ha )?(?:podido|pudo|entregad)",
    r"devuelto",
    r"non (?:è stato )?(?:possibile )?(?:recapitat|consegna)",
    r"mancato recapito",
    r"n[ãa]o (?:foi |p[ôo]de )?(?:ser )?entregue",
    r"niet (?:worden )?(?:bezorgd|afgeleverd)",
    r"nie (?:zosta\w+ |mog\w+ )?(?:dostarcz|dor[ęe]cz)",
    r"недостав",
    r"не (?:может быть |был[оа]? |удалось )?(?:доставл|достав)",  # noqa: RUF001
    r"配信(?:不能|エラー|でき)",
    r"送信(?:でき|エラー|失敗)",
    r"退信",
    r"投递失败",
    r"无法(?:投递|送达|传递)",
    r"blocked by our",
    r"rejected",
    r"verify that the recipient",
    r"not a valid user",
    r"non recens",
    r"delivery is delayed",
    r"is delayed",
    r"delayed",
    r"dele?very",
)

#: subjects of automatic answers
ANSWER_SUBJECT = (
    r"out of (?:the )?office",
    r"(?:auto(?:matic|mated|matisch\w*)?[ -]?(?:re(?:ply|sponse|sponder)|answer|antwort))",
    r"autorespon",
    r"vacation",
    r"on (?:holiday|leave)",
    r"away from",
    r"abwesen",
    r"absen(?:ce|te|t)",
    r"r[ée]ponse automatique",
    r"respuesta autom",
    r"fuera de",
    r"risposta automatica",
    r"resposta autom",
    r"automatyczna",
    r"odpowied",
    r"автоответ",
    r"автоматическ\w+ ответ",
    r"自動(?:返信|応答|回复)",
    r"自动(?:回复|答复)",
    r"不在",
    r"frånvaro",
    r"afwezig",
    r"poissa",
)

#: questions whether the sender is human
CHALLENGE = (
    r"approved (?:senders?|beforehand)",
    r"(?:allowed|guest|white) ?list",
    r"(?:click|follow|visit) .{0,80}(?:link|below).{0,120}(?:deliver|added|verify|confirm|allowed)",
    r"protected by .{0,60}(?:please|click|reply)",
    r"verify (?:that )?you(?:r(?:self)?| are)",
    r"add yourself",
    r"prove you are",
    r"challenge",
    r"one-time (?:automated|verification)",
)

#: what people let their programs answer
AWAY = (
    (
        r"(?:i am|i'm|i will be|ich bin|je suis|estoy|sono) .{0,60}(?:out of|away|"
        r"on (?:leave|holiday|vacation)|absent|not in|im urlaub|nicht|fuera|fuori|"
        r"en vacances|en cong)"
    ),
    r"thank you for (?:your (?:e-?mail|message|inquiry)|contacting|writing)",
    r"will (?:reply|respond|get back|answer) ",
)

#: notices that trying goes on
DELAYED = (
    (
        r"(?:delivery|mail|message|e-?mail|delivery status notification)[\w ()]* "
        r"(?:is |has been |temporarily |being )*(?:delayed?|deferred)"
    ),
    r"delayed mail",
    r"still being retried",
    (
        r"warning(?: only)?\b.{0,80}(?:delay|not (?:yet )?been|could not be delivered|"
        r"still|hours?|attempt|4 hours)"
    ),
    r"will (?:continue|keep|be) (?:to (?:be )?)?(?:try|retr|attempt|trying|made)",
    r"(?:attempts|tries) will (?:continue|be made)",
    r"not yet been delivered",
    r"postponed",
    r"delivery attempts will",
    r"no (?:action|need) (?:is |to )?(?:required|resend)",
    r"you (?:do|need) not (?:need to )?resend",
    r"do not resend",
    r"temporarily undeliver",
    r"verz[öo]ger",
)

#: and that it does not
GIVEN_UP = (
    r"permanent(?:ly)? (?:fatal )?(?:error|fail)",
    r"(?:'ve|have|has|am|is) giv(?:en|ing) up",
    r"giving up on",
    r"gave up",
    r"will not (?:re)?try",
    r"delivery (?:attempt )?(?:has )?failed",
    r"not going to try",
)

#: what stands above the mail that is returned
ORIGINAL = (
    r"this is (?:a|the) copy of",
    r"below this line",
    r"below the next line",
    r"(?:the )?original (?:message|mail|e-?mail)",
    r"unsent message",
    r"returned (?:message|mail)",
    r"message (?:header|text|body|follows|contents)",
    r"the (?:header|body|original|following) (?:of|is|was|message)",
    r"here is (?:a copy|your)",
    r"copy of (?:the|your)",
    r"your (?:message reads|original)",
    r"forwarded message",
    r"start of returned",
    r"included (?:is|below)",
    r"the headers? of",
    r"headers? of (?:the|your|original)",
    r"undelivered message",
    r"first part",
    r"text of (?:the )?mail",
    r"исходное",
    r"ursprüngliche",
    r"message original",
    r"mensaje original",
    r"原文",
    r"以下.{0,12}(?:原|コピー)",
)
