//! A template taken apart and put together again, so that whatever walks a value pays for the walk
//! first.
//!
//! The engine pays for what it has made, after it has made it: a list that is repeated, or that holds
//! another twice, and that again, is small until something makes it text or compares it. Whoever
//! writes, compares, joins, filters, tests, hands on or keeps a value pays for all of it before. Pure.

use minijinja::machinery::ast::{
    AutoEscape, BinOp, BinOpKind, Call, CallArg, CallBlock, Compare, CompareOp, Const, Do,
    EmitExpr, EmitRaw, Expr, Filter, FilterBlock, ForLoop, GetAttr, GetItem, IfCond, IfExpr, List,
    Macro, Map, Set, SetBlock, Slice, Spanned, Stmt, Template, Test, Tuple, UnaryOp, UnaryOpKind,
    Var, WithBlock,
};

/// The filter that pays for a value and gives it back. No template can write its name.
pub(super) const PAID: &str = "(paid)";

/// What stands for `loop.changed`, which keeps what it is given: itself too, for ever.
pub(super) const CHANGED: &str = "(changed)";

/// The same template, which pays.
pub(super) fn stmt<'a>(it: &Stmt<'a>) -> Stmt<'a> {
    match it {
        Stmt::Template(it) => {
            Stmt::Template(Spanned::new(Template { children: stmts(&it.children) }, it.span()))
        }
        Stmt::EmitExpr(e) => {
            Stmt::EmitExpr(Spanned::new(EmitExpr { expr: paid(&e.expr) }, e.span()))
        }
        Stmt::EmitRaw(e) => Stmt::EmitRaw(Spanned::new(EmitRaw { raw: e.raw }, e.span())),
        Stmt::ForLoop(l) => Stmt::ForLoop(Spanned::new(
            ForLoop {
                target: expr(&l.target),
                // What is taken apart is put on the stack whole.
                iter: if matches!(l.target, Expr::Var(_)) { expr(&l.iter) } else { paid(&l.iter) },
                filter_expr: l.filter_expr.as_ref().map(expr),
                recursive: l.recursive,
                body: stmts(&l.body),
                else_body: stmts(&l.else_body),
            },
            l.span(),
        )),
        Stmt::IfCond(c) => Stmt::IfCond(Spanned::new(
            IfCond {
                expr: expr(&c.expr),
                true_body: stmts(&c.true_body),
                false_body: stmts(&c.false_body),
            },
            c.span(),
        )),
        Stmt::WithBlock(w) => Stmt::WithBlock(Spanned::new(
            WithBlock {
                assignments: w.assignments.iter().map(|(t, e)| (expr(t), paid(e))).collect(),
                body: stmts(&w.body),
            },
            w.span(),
        )),
        Stmt::Set(s) => {
            Stmt::Set(Spanned::new(Set { target: expr(&s.target), expr: paid(&s.expr) }, s.span()))
        }
        Stmt::SetBlock(s) => Stmt::SetBlock(Spanned::new(
            SetBlock {
                target: expr(&s.target),
                filter: s.filter.as_ref().map(expr),
                body: stmts(&s.body),
            },
            s.span(),
        )),
        Stmt::AutoEscape(a) => Stmt::AutoEscape(Spanned::new(
            AutoEscape { enabled: expr(&a.enabled), body: stmts(&a.body) },
            a.span(),
        )),
        Stmt::FilterBlock(f) => Stmt::FilterBlock(Spanned::new(
            FilterBlock {
                filter: expr(&f.filter),
                filter_span: f.filter_span,
                body: stmts(&f.body),
            },
            f.span(),
        )),
        Stmt::Macro(m) => Stmt::Macro(its_macro(m)),
        Stmt::CallBlock(c) => Stmt::CallBlock(Spanned::new(
            CallBlock {
                call: call(&c.call),
                call_expr_span: c.call_expr_span,
                macro_decl: its_macro(&c.macro_decl),
            },
            c.span(),
        )),
        Stmt::Do(d) => Stmt::Do(Spanned::new(Do { call: call(&d.call) }, d.span())),
    }
}

fn stmts<'a>(them: &[Stmt<'a>]) -> Vec<Stmt<'a>> {
    them.iter().map(stmt).collect()
}

fn its_macro<'a>(it: &Spanned<Macro<'a>>) -> Spanned<Macro<'a>> {
    Spanned::new(
        Macro {
            name: it.name,
            args: exprs(&it.args),
            defaults: exprs(&it.defaults),
            body: stmts(&it.body),
        },
        it.span(),
    )
}

fn call<'a>(it: &Spanned<Call<'a>>) -> Spanned<Call<'a>> {
    let changed = matches!(&it.expr, Expr::GetAttr(method) if method.name == "changed");
    let call = if changed {
        let expr = Expr::Var(Spanned::new(Var { id: CHANGED }, it.expr.span()));
        Call { expr, args: Vec::new() }
    } else {
        Call { expr: expr(&it.expr), args: args(&it.args) }
    };
    Spanned::new(call, it.span())
}

fn args<'a>(them: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    them.iter()
        .map(|it| match it {
            CallArg::Pos(e) => CallArg::Pos(paid(e)),
            CallArg::Kwarg(name, e) => CallArg::Kwarg(name, paid(e)),
            CallArg::PosSplat(e) => CallArg::PosSplat(paid(e)),
            CallArg::KwargSplat(e) => CallArg::KwargSplat(paid(e)),
        })
        .collect()
}

fn exprs<'a>(them: &[Expr<'a>]) -> Vec<Expr<'a>> {
    them.iter().map(expr).collect()
}

/// A value that is walked where it stands. What a call gives was paid for with what it was given.
fn paid<'a>(it: &Expr<'a>) -> Expr<'a> {
    match it {
        Expr::Const(_) | Expr::Call(_) => expr(it),
        _ => {
            let paid = Filter { name: PAID, expr: Some(expr(it)), args: Vec::new() };
            Expr::Filter(Spanned::new(paid, it.span()))
        }
    }
}

fn expr<'a>(it: &Expr<'a>) -> Expr<'a> {
    match it {
        Expr::Var(v) => Expr::Var(Spanned::new(Var { id: v.id }, v.span())),
        Expr::Const(c) => Expr::Const(Spanned::new(Const { value: c.value.clone() }, c.span())),
        Expr::Slice(s) => Expr::Slice(Spanned::new(
            Slice {
                expr: expr(&s.expr),
                start: s.start.as_ref().map(expr),
                stop: s.stop.as_ref().map(expr),
                step: s.step.as_ref().map(expr),
            },
            s.span(),
        )),
        Expr::UnaryOp(u) => Expr::UnaryOp(Spanned::new(
            UnaryOp {
                op: match u.op {
                    UnaryOpKind::Not => UnaryOpKind::Not,
                    UnaryOpKind::Neg => UnaryOpKind::Neg,
                },
                expr: expr(&u.expr),
            },
            u.span(),
        )),
        Expr::BinOp(b) => {
            let side = match b.op {
                BinOpKind::ScAnd | BinOpKind::ScOr => expr,
                _ => paid,
            };
            Expr::BinOp(Spanned::new(
                BinOp { op: b.op, left: side(&b.left), right: side(&b.right) },
                b.span(),
            ))
        }
        Expr::Compare(c) => Expr::Compare(Spanned::new(
            Compare {
                expr: paid(&c.expr),
                ops: c.ops.iter().map(|o| CompareOp { op: o.op, expr: paid(&o.expr) }).collect(),
            },
            c.span(),
        )),
        Expr::IfExpr(i) => Expr::IfExpr(Spanned::new(
            IfExpr {
                test_expr: expr(&i.test_expr),
                true_expr: expr(&i.true_expr),
                false_expr: i.false_expr.as_ref().map(expr),
            },
            i.span(),
        )),
        Expr::Filter(f) => Expr::Filter(Spanned::new(
            Filter { name: f.name, expr: f.expr.as_ref().map(paid), args: args(&f.args) },
            f.span(),
        )),
        Expr::Test(t) => Expr::Test(Spanned::new(
            Test { name: t.name, expr: paid(&t.expr), args: args(&t.args) },
            t.span(),
        )),
        Expr::GetAttr(g) => {
            Expr::GetAttr(Spanned::new(GetAttr { expr: expr(&g.expr), name: g.name }, g.span()))
        }
        Expr::GetItem(g) => Expr::GetItem(Spanned::new(
            GetItem { expr: expr(&g.expr), subscript_expr: paid(&g.subscript_expr) },
            g.span(),
        )),
        Expr::Call(c) => Expr::Call(call(c)),
        Expr::List(l) => Expr::List(Spanned::new(List { items: exprs(&l.items) }, l.span())),
        Expr::Tuple(t) => Expr::Tuple(Spanned::new(Tuple { items: exprs(&t.items) }, t.span())),
        Expr::Map(m) => Expr::Map(Spanned::new(
            Map { keys: m.keys.iter().map(paid).collect(), values: exprs(&m.values) },
            m.span(),
        )),
    }
}
